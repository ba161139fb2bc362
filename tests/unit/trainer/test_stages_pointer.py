"""The pointer moves once, conditionally; markers of other recipes are not taken."""

from dataclasses import replace
from pathlib import Path

import pytest
from finetune_api.errors import UserError
from finetune_api.manifest import Manifest
from finetune_api.progress import Stage
from finetune_api.reasons import Reason
from finetune_api.spec import OnExisting, Storage
from finetune_api.status import Measurement
from finetune_trainer.stages.markers import Marker, find_markers
from finetune_trainer.stages.pointer import check_free, keep_copy, publish_pointer, read_pointer
from finetune_trainer.storage import Store, open_store

HASHES = ("a" * 64, "d" * 64)


@pytest.fixture
def store() -> Store:
    return open_store(Storage(), allow_loopback=True)


@pytest.fixture
def uri(tmp_path: Path) -> str:
    return (tmp_path / "job" / "manifest.json").as_uri()


def manifest(uri: str, run: str, recipe: str = "a") -> Manifest:
    folder = uri.replace("manifest.json", f"runs/{run}")
    return Manifest(
        job_uid="uid",
        run_uri=folder,
        result_uri=f"{folder}/adapter",
        base_model="base",
        recipe_hash=recipe * 64,
        data_hash="d" * 64,
        versions={},
        created_at="2026-01-01T00:00:00Z",
        steps=3,
        files=[],
    )


def test_the_first_of_two_runs_of_one_recipe_wins_and_the_other_adopts_it(
    store: Store, uri: str
) -> None:
    seen = read_pointer(store, uri)
    assert seen is None
    first = publish_pointer(store, uri, manifest(uri, "one"), seen, OnExisting.REFUSE)
    second = publish_pointer(store, uri, manifest(uri, "two"), seen, OnExisting.REFUSE)
    assert second.manifest == manifest(uri, "one")
    assert second.sha256 == first.sha256
    found = read_pointer(store, uri)
    assert found == first


def test_another_recipe_that_appeared_meanwhile_is_refused_or_replaced_as_told(
    store: Store, uri: str
) -> None:
    publish_pointer(store, uri, manifest(uri, "other", recipe="b"), None, OnExisting.REFUSE)
    with pytest.raises(UserError) as caught:
        publish_pointer(store, uri, manifest(uri, "mine"), None, OnExisting.REFUSE)
    assert caught.value.reason is Reason.OUTPUT_TAKEN
    moved = publish_pointer(store, uri, manifest(uri, "mine"), None, OnExisting.REPLACE)
    assert read_pointer(store, uri) == moved
    assert moved.manifest == manifest(uri, "mine")


def test_a_run_keeps_what_it_published_when_the_pointer_moves_on(store: Store, uri: str) -> None:
    first = publish_pointer(store, uri, manifest(uri, "one"), None, OnExisting.REFUSE)
    other = manifest(uri, "two", recipe="b")
    publish_pointer(store, uri, other, first, OnExisting.REPLACE)
    kept = read_pointer(store, f"{manifest(uri, 'one').run_uri}/manifest.json")
    assert kept is not None
    assert (kept.manifest, kept.sha256) == (first.manifest, first.sha256)


def test_a_result_without_a_copy_in_its_folder_gets_it_when_it_is_adopted(
    store: Store, uri: str
) -> None:
    text = manifest(uri, "old").model_dump_json(by_alias=True, exclude_none=True).encode()
    store.write(uri, text)
    copy = f"{manifest(uri, 'old').run_uri}/manifest.json"
    published = publish_pointer(store, uri, manifest(uri, "new"), None, OnExisting.REFUSE)
    assert published.text == store.read(copy) == text
    store.delete(copy)
    keep_copy(store, published)
    assert store.read(copy) == text


def test_a_copy_that_is_there_stays(store: Store, uri: str) -> None:
    first = publish_pointer(store, uri, manifest(uri, "one"), None, OnExisting.REFUSE)
    keep_copy(store, replace(first, text=b"other"))
    assert store.read(f"{manifest(uri, 'one').run_uri}/manifest.json") == first.text


def test_a_result_in_a_folder_that_cannot_be_written_is_adopted_without_a_copy(
    store: Store, uri: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    published = publish_pointer(store, uri, manifest(uri, "one"), None, OnExisting.REFUSE)

    def refuse(*_: object, **__: object) -> str:
        raise UserError(Reason.STORAGE_DENIED, "no", where=uri)

    monkeypatch.setattr(store, "write", refuse)
    keep_copy(store, published)


def test_the_same_recipe_may_add_its_merged_model_to_what_is_published(
    store: Store, uri: str
) -> None:
    first = publish_pointer(store, uri, manifest(uri, "one"), None, OnExisting.REFUSE)
    assert first.serves(HASHES, merged=False)
    assert not first.serves(HASHES, merged=True)
    check_free(first, uri, OnExisting.REFUSE, HASHES)
    more = manifest(uri, "two").model_copy(update={"merged_uri": "file:///runs/two/model"})
    second = publish_pointer(store, uri, more, None, OnExisting.REFUSE)
    assert second.manifest == more
    assert second.serves(HASHES, merged=True)
    third = publish_pointer(store, uri, manifest(uri, "three"), None, OnExisting.REFUSE)
    assert third.manifest == more


def test_what_is_no_manifest_is_taken_too_unless_it_may_be_replaced(store: Store, uri: str) -> None:
    store.write(uri, b"{}")
    seen = read_pointer(store, uri)
    assert seen is not None
    assert seen.manifest is None
    with pytest.raises(UserError, match="onExisting"):
        check_free(seen, uri, OnExisting.REFUSE, HASHES)
    check_free(seen, uri, OnExisting.REPLACE, HASHES)
    publish_pointer(store, uri, manifest(uri, "mine"), seen, OnExisting.REPLACE)
    replaced = read_pointer(store, uri)
    assert replaced is not None
    assert replaced.manifest == manifest(uri, "mine")


def test_the_youngest_marker_of_the_same_recipe_counts(store: Store, tmp_path: Path) -> None:
    root = tmp_path.as_uri()
    for run, recipe, loss in (("r1", "a", "3"), ("r2", "a", "2"), ("r3", "b", "1")):
        marker = Marker(
            stage=Stage.BASELINE,
            recipe_hash=recipe * 64,
            data_hash="d" * 64,
            run_uri=f"{root}/{run}",
            measurement=Measurement(cross_entropy=loss),
        )
        text = marker.model_dump_json(by_alias=True).encode()
        store.write(f"{root}/{run}/stages/Baseline.json", text)
    store.write(f"{root}/r4/stages/Training.json", b"not JSON")
    uris = [info.uri for info in store.list(root)]
    found = find_markers(store, uris, ("a" * 64, "d" * 64))
    assert set(found) == {Stage.BASELINE}
    assert found[Stage.BASELINE].measurement == Measurement(cross_entropy="2")
