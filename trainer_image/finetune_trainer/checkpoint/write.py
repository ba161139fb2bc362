"""Writes checkpoints to the store in the background, the header last."""

import shutil
import threading
from dataclasses import dataclass
from pathlib import Path

from finetune_api.layout import CHECKPOINT_MANIFEST, RunLayout
from safetensors.torch import save_file

from finetune_trainer.checkpoint.header import (
    METRICS_FILE,
    STATE_FILE,
    CheckpointHeader,
    file_record,
)
from finetune_trainer.checkpoint.state import Tensors
from finetune_trainer.storage import Store


@dataclass(frozen=True)
class Snapshot:
    """A state on the host, safe from the steps that follow."""

    header: CheckpointHeader
    """Without files; they are listed once they are written."""
    tensors: Tensors
    metrics: bytes
    """metrics.jsonl up to the step."""
    keep_too: int | None = None
    """Step of a checkpoint that is needed still, however old."""


class CheckpointWriter:
    """Uploads one snapshot at a time; only rank 0 has one, and its thread calls no collective."""

    def __init__(self, store: Store, run: RunLayout, scratch: Path, keep: int) -> None:
        self._store = store
        self._run = run
        self._scratch = scratch
        self._keep = keep
        self._thread: threading.Thread | None = None
        self._error: Exception | None = None
        self._committed: list[CheckpointHeader] = []

    @property
    def committed_step(self) -> int | None:
        """Step of the newest checkpoint that lies in the store as a whole."""
        return self._committed[-1].step if self._committed else None

    @property
    def busy(self) -> bool:
        """Whether an upload is under way."""
        return self._thread is not None and self._thread.is_alive()

    def write(self, snapshot: Snapshot) -> None:
        """Begin to upload `snapshot`, after the one before it. Raises what that one raised."""
        self.wait()
        self._thread = threading.Thread(target=self._work, args=(snapshot,), name="checkpoint")
        self._thread.start()

    def wait(self) -> None:
        """Wait for the upload under way. Raises what it raised."""
        if self._thread is not None:
            self._thread.join()
            self._thread = None
        if self._error is not None:
            error, self._error = self._error, None
            raise error

    def _work(self, snapshot: Snapshot) -> None:
        try:
            self._upload(snapshot)
            self._remove_old(snapshot.keep_too)
        except Exception as error:  # noqa: BLE001 - raised again by wait()
            self._error = error

    def _upload(self, snapshot: Snapshot) -> None:
        folder = self._scratch / f"checkpoint-{snapshot.header.step}"
        folder.mkdir(parents=True, exist_ok=True)
        save_file(snapshot.tensors, folder / STATE_FILE)
        (folder / METRICS_FILE).write_bytes(snapshot.metrics)
        names = (STATE_FILE, METRICS_FILE)
        records = [file_record(folder, name) for name in names]
        header = snapshot.header.model_copy(update={"files": records})
        target = self._run.checkpoint(header.step)
        for name in names:
            self._store.upload(folder / name, f"{target}/{name}")
        text = header.model_dump_json(by_alias=True, indent=1)
        self._store.write(f"{target}/{CHECKPOINT_MANIFEST}", text.encode())
        shutil.rmtree(folder)
        self._committed.append(header)

    def _remove_old(self, keep_too: int | None) -> None:
        """Remove checkpoints of this run beyond `keep`; the header goes first."""
        for oldest in self._committed[: -self._keep]:
            if oldest.step == keep_too:
                continue
            self._committed.remove(oldest)
            target = self._run.checkpoint(oldest.step)
            for name in (CHECKPOINT_MANIFEST, *(record.path for record in oldest.files)):
                self._store.delete(f"{target}/{name}")
