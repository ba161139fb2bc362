"""Which files a source names."""

from pathlib import Path

import pytest
from finetune_api.errors import UserError
from finetune_api.reasons import Reason
from finetune_api.spec import RowSource, Storage
from finetune_trainer.preparation.sources import fetch_sources, find_objects
from finetune_trainer.storage import Store, open_store

FILES = (
    "a.jsonl",
    "b.jsonl.gz",
    "notes.md",
    "deep/c.jsonl",
    "deep/er/d1.jsonl",
    "deep/er/d2.jsonl",
    "_SUCCESS",
    ".hidden/e.jsonl",
    "deep/_temporary/f.jsonl",
)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for name in FILES:
        path = tmp_path / "data" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(f"content of {name}")
    (tmp_path / "data" / "empty.jsonl").touch()
    return tmp_path / "data"


@pytest.fixture
def store() -> Store:
    return open_store(Storage(), allow_loopback=False)


@pytest.mark.parametrize(
    ("address", "names"),
    [
        ("/a.jsonl", ["a.jsonl"]),
        ("/_SUCCESS", ["_SUCCESS"]),
        ("/deep", ["deep/c.jsonl", "deep/er/d1.jsonl", "deep/er/d2.jsonl"]),
        ("/deep/er/", ["deep/er/d1.jsonl", "deep/er/d2.jsonl"]),
        ("/*.jsonl", ["a.jsonl"]),
        ("/*.jsonl*", ["a.jsonl", "b.jsonl.gz"]),
        ("/**/*.jsonl", ["a.jsonl", "deep/c.jsonl", "deep/er/d1.jsonl", "deep/er/d2.jsonl"]),
        ("/**.md", ["notes.md"]),
        ("/deep/*/d[12].jsonl", ["deep/er/d1.jsonl", "deep/er/d2.jsonl"]),
        ("/deep/er/d[!1].jsonl", ["deep/er/d2.jsonl"]),
    ],
)
def test_an_address_names_an_object_a_folder_or_a_pattern(
    store: Store, folder: Path, address: str, names: list[str]
) -> None:
    found = find_objects(store, f"{folder.as_uri()}{address}")

    assert [info.uri.removeprefix(f"{folder.as_uri()}/") for info in found] == names


@pytest.mark.parametrize("address", ["/none.jsonl", "/none/", "/*.parquet", "/empty*"])
def test_an_address_of_nothing_is_refused(store: Store, folder: Path, address: str) -> None:
    with pytest.raises(UserError) as caught:
        find_objects(store, f"{folder.as_uri()}{address}")

    assert caught.value.reason is Reason.STORAGE_NOT_FOUND
    assert caught.value.where == f"{folder.as_uri()}{address}"


def test_the_digest_is_of_names_and_contents_and_not_of_the_place(
    store: Store, folder: Path, tmp_path: Path
) -> None:
    moved = tmp_path / "elsewhere"

    def digest(of: Path, work: str) -> str:
        source = RowSource(uri=f"{of.as_uri()}/deep/**")
        (local,) = fetch_sources(store, [source], tmp_path / work, lambda _: None)
        assert len(local.files) == 3
        return local.sha256

    before = digest(folder, "1")
    folder.rename(moved)
    after = digest(moved, "2")
    (moved / "deep/er/d1.jsonl").rename(moved / "deep/er/d0.jsonl")

    assert before == after != digest(moved, "3")
