"""Fetching: the start model and the prepared data come to each pod's disk once."""

import shutil
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path

from finetune_trainer.handover import hand_over
from finetune_trainer.prepared import Prepared, read_prepared
from finetune_trainer.stages.context import Run, node_of_this_rank
from finetune_trainer.start_files import StartRecord, changed, checked_files, find_record
from finetune_trainer.storage import ObjectInfo, PreconditionFailed
from finetune_trainer.storage.addresses import checked_target, file_path, relative_to, scheme_of

_OTHER_WEIGHTS = (".bin", ".pt", ".pth", ".h5", ".msgpack", ".gguf", ".onnx", ".ckpt", ".pkl")
"""Weights in formats that are never loaded."""


@dataclass(frozen=True)
class Fetched:
    """What lies on this pod's disk."""

    start: StartRecord
    model: Path
    """The base: what the job starts from, or the start adapter merged into that."""
    adapter: Path | None
    """The start adapter, while it is not merged."""
    handed_over: Path
    """Tokenizer, chat template and generation settings; see `handover`."""
    prepared: Prepared

    def merged(self, base: Path) -> "Fetched":
        """The same once the adapter is merged into `base`."""
        return replace(self, model=base, adapter=None)


@dataclass(frozen=True)
class _Part:
    """A folder that is needed here."""

    uri: str
    folder: Path
    recorded: Mapping[str, str] | None = None
    """Names and etags that it must have; None where it belongs to this job."""

    @property
    def is_here(self) -> bool:
        """Whether it is used where it lies."""
        return self.folder == _in_place(self.uri)


def fetch(run: Run, merged_uri: str | None = None) -> Fetched:
    """Download model and data; local rank 0 of each pod does it, the others wait.

    Args:
        merged_uri: base with the start adapter merged, where an earlier incarnation made it; it
            takes the place of the start model.

    Raises UserError ModelInvalid when the start model is not what was prepared,
    InterruptedRunError, and the store's errors.
    """
    start = _find_start(run)
    parts = _parts(run, start, merged_uri)
    handed_over = run.work / "handed-over"
    model, adapter = parts["model"].folder, parts["adapter"].folder if "adapter" in parts else None
    key = f"fetched/{node_of_this_rank()}"
    if run.comm.local_rank == 0:
        for part in parts.values():
            _bring(run, part)
        shutil.rmtree(handed_over, ignore_errors=True)
        hand_over(model, adapter, handed_over)
        run.comm.put(key, value=True)
    else:
        run.comm.get(key)
    return Fetched(start, model, adapter, handed_over, read_prepared(parts["prepared"].folder))


def merged_folder(run: Run) -> Path:
    """Where the base with the start adapter merged into it lies on this pod's disk."""
    return run.work / "publish" / "base"


def download_folder(run: Run, uri: str, folder: Path) -> Iterator[Path]:
    """Download what lies in the folder `uri`, one file for each step of the iterator."""
    return _download(run, run.store.list(uri), uri, folder)


def _find_start(run: Run) -> StartRecord:
    """What to start from, as rank 0 finds it."""
    found = None
    if run.comm.is_first:
        uri = run.file.spec.model.uri
        found = find_record(run.store, run.layout.start, run.recipe_hash, uri).to_wire()
    return StartRecord.parse_wire(run.comm.share("start", found))


def _parts(run: Run, start: StartRecord, merged_uri: str | None) -> dict[str, _Part]:
    prepared = _Part(run.prepared_uri, _folder(run, "prepared", run.prepared_uri))
    if merged_uri is not None:
        return {"model": _Part(merged_uri, merged_folder(run)), "prepared": prepared}
    model = _Part(start.model_uri, _folder(run, "model", start.model_uri), start.model_files)
    parts = {"model": model, "prepared": prepared}
    if start.adapter_uri is not None:
        folder = _folder(run, "adapter", start.adapter_uri)
        parts["adapter"] = _Part(start.adapter_uri, folder, start.adapter_files)
    return parts


def _bring(run: Run, part: _Part) -> None:
    """Have `part` on this disk, and be sure that it is what was recorded."""
    if part.recorded is None:
        objects: Iterable[ObjectInfo] = () if part.is_here else run.store.list(part.uri)
    else:
        objects = checked_files(run.store, part.uri, part.recorded)
    if not part.is_here:
        for _ in _download(run, objects, part.uri, part.folder):
            run.comm.check_stop()


def _download(run: Run, objects: Iterable[ObjectInfo], uri: str, folder: Path) -> Iterator[Path]:
    folder.mkdir(parents=True, exist_ok=True)
    for info in objects:
        name = relative_to(info.uri, uri)
        if not name.endswith(_OTHER_WEIGHTS):
            target = checked_target(folder, name)
            try:
                run.store.download(info.uri, target, info.etag)
            except PreconditionFailed as error:
                raise changed(info.uri) from error
            yield target


def _folder(run: Run, name: str, uri: str) -> Path:
    """Files that are on this machine already are used where they lie."""
    return _in_place(uri) or run.work / name


def _in_place(uri: str) -> Path | None:
    return file_path(uri) if scheme_of(uri) == "file" else None
