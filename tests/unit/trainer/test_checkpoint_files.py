"""Checkpoints in a store: written header last, kept, found, passed over when damaged."""

from pathlib import Path

import pytest
import torch
from finetune_api.errors import InfrastructureError, InterruptedRunError
from finetune_api.layout import RunLayout
from finetune_api.reasons import Reason
from finetune_api.spec import Storage
from finetune_trainer.checkpoint.find import Found, Wanted, newest
from finetune_trainer.checkpoint.header import CheckpointHeader
from finetune_trainer.checkpoint.write import CheckpointWriter, Snapshot
from finetune_trainer.storage import Store, open_store
from finetune_trainer.storage.store import Watch

HASHES = ("a" * 64, "d" * 64)


@pytest.fixture
def store() -> Store:
    return open_store(Storage(), allow_loopback=True)


def snapshot(step: int, recipe: str = "a") -> Snapshot:
    header = CheckpointHeader(
        step=step,
        applied_steps=step,
        total_steps=10,
        epoch=0.5,
        world_size=1,
        recipe_hash=recipe * 64,
        data_hash="d" * 64,
        files=[],
    )
    return Snapshot(header, {"parameter/w": torch.full((2,), float(step))}, b'{"step": 1}\n')


def save(store: Store, root: Path, run: str, *steps: int, recipe: str = "a") -> CheckpointWriter:
    layout = RunLayout((root / "runs" / run).as_uri())
    writer = CheckpointWriter(store, layout, root / "scratch", keep=2)
    for step in steps:
        writer.write(snapshot(step, recipe))
    writer.wait()
    return writer


def unwatched(_done: int, _total: int) -> None:
    """Let the download go on."""


def find(store: Store, root: Path, watch: Watch = unwatched) -> tuple[Found | None, list[str]]:
    uris = [info.uri for info in store.list((root / "runs").as_uri())]
    warnings: list[str] = []
    wanted = Wanted(
        store,
        uris,
        root / "down",
        hashes=HASHES,
        accepts=lambda header, tensors: float(tensors["parameter/w"][0]) == header.step,
        warn=warnings.append,
        watch=watch,
    )
    return newest(wanted), warnings


def test_old_checkpoints_go_and_the_newest_comes_back_whole(store: Store, tmp_path: Path) -> None:
    writer = save(store, tmp_path, "one", 2, 4, 6)
    assert writer.committed_step == 6
    folders = sorted(p.parent.name for p in tmp_path.rglob("checkpoint.json"))
    assert folders == ["step-00000004", "step-00000006"]
    found, warnings = find(store, tmp_path)
    assert found is not None
    assert found.header.step == 6
    assert found.metrics == b'{"step": 1}\n'
    assert torch.equal(found.tensors["parameter/w"], torch.tensor([6.0, 6.0]))
    assert warnings == []


def test_damaged_ones_are_passed_over_for_the_next_newest_of_any_run(
    store: Store, tmp_path: Path
) -> None:
    save(store, tmp_path, "one", 4)
    save(store, tmp_path, "two", 6, 8)
    state = tmp_path / "runs/two/checkpoints/step-00000008/state.safetensors"
    state.write_bytes(state.read_bytes()[:-1] + b"\x01")
    (tmp_path / "runs/two/checkpoints/step-00000006/metrics.jsonl").unlink()
    found, warnings = find(store, tmp_path)
    assert found is not None
    assert found.header.step == 4
    assert len(warnings) == 2


def test_a_request_to_stop_ends_the_download_of_a_checkpoint(store: Store, tmp_path: Path) -> None:
    save(store, tmp_path, "one", 4)

    def stop(_done: int, _total: int) -> None:
        raise InterruptedRunError(Reason.INTERRUPTED, "asked to stop")

    with pytest.raises(InterruptedRunError):
        find(store, tmp_path, stop)


def test_uncommitted_and_foreign_checkpoints_are_not_taken(store: Store, tmp_path: Path) -> None:
    save(store, tmp_path, "other-recipe", 8, recipe="b")
    save(store, tmp_path, "half", 6)
    (tmp_path / "runs/half/checkpoints/step-00000006/checkpoint.json").unlink()
    assert find(store, tmp_path) == (None, [])


def test_a_failed_upload_is_told_by_the_next_wait(tmp_path: Path) -> None:
    class Unreachable:
        def upload(self, _path: Path, uri: str) -> None:
            raise InfrastructureError(Reason.STORAGE_UNAVAILABLE, "no answer", where=uri)

    layout = RunLayout("s3://bucket/run")
    writer = CheckpointWriter(Unreachable(), layout, tmp_path, keep=2)  # type: ignore[arg-type]
    writer.write(snapshot(2))
    with pytest.raises(InfrastructureError, match="no answer"):
        writer.wait()
    assert writer.committed_step is None
