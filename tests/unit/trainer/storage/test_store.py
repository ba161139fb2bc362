"""What every store promises, on files and on a real S3 server alike."""

import threading
from pathlib import Path

import pytest
from finetune_api.errors import UserError
from finetune_api.reasons import Reason
from finetune_api.spec import Storage
from finetune_trainer.storage import ObjectInfo, PreconditionFailed, Store, open_store

PART = 16 * 2**20


@pytest.fixture(params=["file", "s3"])
def folder(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """Address of an empty folder."""
    if request.param == "file":
        return (tmp_path / "objects").as_uri()
    return f"s3://{request.getfixturevalue('bucket')}/objects"


@pytest.fixture
def store(folder: str, request: pytest.FixtureRequest) -> Store:
    if folder.startswith("file"):
        return open_store(Storage(), allow_loopback=False)
    request.getfixturevalue("keys")
    server = request.getfixturevalue("s3_server")
    return open_store(server.storage(), allow_loopback=True)


def names(store: Store, folder: str) -> list[str]:
    return [info.uri.removeprefix(folder) for info in store.list(folder)]


def test_what_was_written_is_read_back_with_its_size_and_etag(store: Store, folder: str) -> None:
    uri = f"{folder}/a/x.json"

    etag = store.write(uri, b"hello")

    assert store.read(uri) == b"hello"
    assert store.read_with_etag(uri) == (b"hello", etag)
    assert store.stat(uri) == ObjectInfo(uri, 5, etag)


def test_a_missing_object_has_no_stat_and_reading_it_names_it(store: Store, folder: str) -> None:
    uri = f"{folder}/nothing.json"

    assert store.stat(uri) is None
    with pytest.raises(UserError) as caught:
        store.read(uri)

    assert caught.value.reason is Reason.STORAGE_NOT_FOUND
    assert caught.value.where == uri
    assert "check" in caught.value.message


def test_an_object_above_the_limit_is_not_read(store: Store, folder: str) -> None:
    uri = f"{folder}/big"
    store.write(uri, b"x" * 11)

    with pytest.raises(UserError, match="11 bytes; at most 10"):
        store.read(uri, max_bytes=10)


def test_if_absent_writes_once(store: Store, folder: str) -> None:
    uri = f"{folder}/marker"
    store.write(uri, b"first", if_absent=True)

    with pytest.raises(PreconditionFailed):
        store.write(uri, b"second", if_absent=True)

    assert store.read(uri) == b"first"


def test_if_match_replaces_only_the_version_it_names(store: Store, folder: str) -> None:
    uri = f"{folder}/pointer"
    first = store.write(uri, b"first")

    second = store.write(uri, b"second", if_match=first)
    with pytest.raises(PreconditionFailed):
        store.write(uri, b"third", if_match=first)

    assert second != first
    assert store.read(uri) == b"second"


def test_if_match_on_an_object_that_is_gone_fails(store: Store, folder: str) -> None:
    uri = f"{folder}/pointer"
    etag = store.write(uri, b"first")
    store.delete(uri)

    with pytest.raises(PreconditionFailed):
        store.write(uri, b"second", if_match=etag)

    assert store.stat(uri) is None


def test_of_many_writers_at_once_exactly_one_wins(store: Store, folder: str) -> None:
    won = []

    def write(number: int) -> None:
        try:
            store.write(f"{folder}/pointer", b"%d" % number, if_absent=True)
        except PreconditionFailed:
            return
        won.append(b"%d" % number)

    threads = [threading.Thread(target=write, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert won == [store.read(f"{folder}/pointer")]


def test_list_is_recursive_and_takes_its_prefix_as_a_folder(store: Store, folder: str) -> None:
    for name in ("a/x", "a/b/y", "ab/z", "a.json"):
        store.write(f"{folder}/{name}", b"1")

    assert names(store, f"{folder}/a") == ["/b/y", "/x"]
    assert names(store, f"{folder}/a/") == ["b/y", "x"]
    assert names(store, f"{folder}/nothing") == []


def test_a_file_of_several_parts_survives_the_way_there_and_back(
    store: Store, folder: str, tmp_path: Path
) -> None:
    content = bytes(range(256)) * (PART // 256) + b"tail"
    (tmp_path / "up").write_bytes(content)

    store.upload(tmp_path / "up", f"{folder}/big")
    store.download(f"{folder}/big", tmp_path / "sub" / "down")

    assert (tmp_path / "sub" / "down").read_bytes() == content


def test_a_download_of_another_version_leaves_nothing(
    store: Store, folder: str, tmp_path: Path
) -> None:
    uri = f"{folder}/x"
    old = store.write(uri, b"old")
    new = store.write(uri, b"newer")

    with pytest.raises(PreconditionFailed):
        store.download(uri, tmp_path / "down" / "x", expected_etag=old)

    assert list(tmp_path.glob("down/*")) == []
    store.download(uri, tmp_path / "down" / "x", expected_etag=new)
    assert (tmp_path / "down" / "x").read_bytes() == b"newer"


def test_deleting_twice_is_no_error(store: Store, folder: str) -> None:
    store.write(f"{folder}/x", b"1")

    store.delete(f"{folder}/x")
    store.delete(f"{folder}/x")

    assert names(store, folder) == []


def test_an_unknown_scheme_is_refused(store: Store) -> None:
    with pytest.raises(UserError, match="s3://BUCKET/KEY"):
        store.stat("gs://bucket/key")
