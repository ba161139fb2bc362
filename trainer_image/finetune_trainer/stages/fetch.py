"""Fetching: the base model and the prepared data come to each pod's disk once."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from finetune_trainer.prepared import Prepared, read_prepared
from finetune_trainer.stages.context import Run, node_of_this_rank
from finetune_trainer.storage.addresses import checked_target, file_path, relative_to, scheme_of

_OTHER_WEIGHTS = (".bin", ".pt", ".pth", ".h5", ".msgpack", ".gguf", ".onnx", ".ckpt", ".pkl")
"""Weights in formats that are never loaded."""


@dataclass(frozen=True)
class Fetched:
    """What lies on this pod's disk."""

    model: Path
    prepared: Prepared


def fetch(run: Run) -> Fetched:
    """Download model and data; local rank 0 of each pod does it, the others wait.

    Raises InterruptedRunError, and the store's errors.
    """
    sources = {"model": run.file.spec.model.uri, "prepared": run.prepared_uri}
    folders = {name: _folder(run, name, uri) for name, uri in sources.items()}
    key = f"fetched/{node_of_this_rank()}"
    if run.comm.local_rank == 0:
        for name, uri in sources.items():
            if scheme_of(uri) != "file":
                for _ in download_folder(run, uri, folders[name]):
                    run.comm.check_stop()
        run.comm.put(key, value=True)
    else:
        run.comm.get(key)
    return Fetched(folders["model"], read_prepared(folders["prepared"]))


def download_folder(run: Run, uri: str, folder: Path) -> Iterator[Path]:
    """Download what lies in the folder `uri`, one file for each step of the iterator."""
    folder.mkdir(parents=True, exist_ok=True)
    for info in run.store.list(uri):
        name = relative_to(info.uri, uri)
        if not name.endswith(_OTHER_WEIGHTS):
            target = checked_target(folder, name)
            run.store.download(info.uri, target, info.etag)
            yield target


def _folder(run: Run, name: str, uri: str) -> Path:
    """Files that are on this machine already are used where they lie."""
    return file_path(uri) if scheme_of(uri) == "file" else run.work / name
