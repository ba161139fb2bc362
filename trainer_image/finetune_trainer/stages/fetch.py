"""Fetching: the base model and the prepared data come to each pod's disk once."""

import logging
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from finetune_api.errors import UserError
from finetune_api.reasons import Reason

from finetune_trainer.model_check import folder_digest
from finetune_trainer.prepared import Prepared, read_prepared
from finetune_trainer.stages.context import Run, node_of_this_rank
from finetune_trainer.storage import Download, ObjectInfo, PreconditionFailed
from finetune_trainer.storage.addresses import checked_target, file_path, relative_to, scheme_of
from finetune_trainer.storage.pool import work_off
from finetune_trainer.storage.store import changed_meanwhile
from finetune_trainer.transfer_log import TransferLog

log = logging.getLogger("finetune")

_OTHER_WEIGHTS = (".bin", ".pt", ".pth", ".h5", ".msgpack", ".gguf", ".onnx", ".ckpt", ".pkl")
"""Weights in formats that are never loaded."""
_COPY_OF_WEIGHTS = "consolidated"
"""Some repositories hold the weights a second time, for another library, under such names."""
_TEMPLATES = "additional_chat_templates/"
"""The only subfolder of a model that is loaded from."""


@dataclass(frozen=True)
class Fetched:
    """What lies on this pod's disk."""

    model: Path
    prepared: Prepared


def fetch(run: Run) -> Fetched:
    """Download model and data; local rank 0 of each pod does it, the others wait.

    Raises InterruptedRunError, UserError where the model is not the one that was prepared for,
    and the store's errors.
    """
    model, data = run.file.spec.model.uri, run.prepared_uri
    folders = {uri: _folder(run, name, uri) for name, uri in (("model", model), ("prepared", data))}
    key = f"fetched/{node_of_this_rank()}"
    if run.comm.local_rank == 0:
        downloads = [
            *_model_files(run, model, folders[model]),
            *_all_files(run, data, folders[data]),
        ]
        download(run, downloads)
        run.comm.put(key, value=True)
    else:
        run.comm.get(key)
    return Fetched(folders[model], read_prepared(folders[data]))


def download_folder(run: Run, uri: str, folder: Path) -> None:
    """Download all that lies in the folder `uri`. Raises InterruptedRunError."""
    download(run, _all_files(run, uri, folder))


def download(run: Run, downloads: Sequence[Download]) -> None:
    """Download files, telling how far it is, and stop when any rank was asked to.

    Raises InterruptedRunError; InfrastructureError where an object changes meanwhile.
    """

    tell = TransferLog(log.info)

    def watch(done: int, total: int) -> None:
        run.comm.check_stop()
        if run.progress is not None:
            run.progress.after_bytes(done, total)
            tell(done, total)

    try:
        run.store.download_files(downloads, watch)
    except PreconditionFailed as error:
        raise changed_meanwhile(error) from error


def is_loaded(name: str) -> bool:
    """Whether a model is loaded from its file `name`, a path in the model's folder."""
    if "/" in name and not name.startswith(_TEMPLATES):
        return False
    return not name.endswith(_OTHER_WEIGHTS) and not name.startswith(_COPY_OF_WEIGHTS)


def _model_files(run: Run, uri: str, folder: Path) -> list[Download]:
    """What is to be downloaded of the model."""
    if scheme_of(uri) == "file":
        return []
    files = {relative_to(info.uri, uri): info for info in _listed(run, uri)}
    if run.model_digest not in (None, folder_digest(files)):
        raise UserError(
            Reason.MODEL_INVALID,
            "the model is not the one that the data was prepared for: apply the job anew, and "
            "name a folder that stays as it is (on the hub, a commit)",
            where=uri,
        )
    return [
        Download(info, checked_target(folder, name))
        for name, info in files.items()
        if is_loaded(name)
    ]


def _all_files(run: Run, uri: str, folder: Path) -> list[Download]:
    if scheme_of(uri) == "file" and folder == file_path(uri):
        return []
    return [
        Download(info, checked_target(folder, relative_to(info.uri, uri)))
        for info in _listed(run, uri)
    ]


def _listed(run: Run, uri: str) -> list[ObjectInfo]:
    """What lies in a folder. Asked in another thread, since a store that is away may keep it
    waiting for minutes; this one looks for a request to stop."""
    found: list[ObjectInfo] = []
    work_off([lambda _: found.extend(run.store.list(uri))], 1, run.comm.check_stop)
    return found


def _folder(run: Run, name: str, uri: str) -> Path:
    """Files that are on this machine already are used where they lie."""
    return file_path(uri) if scheme_of(uri) == "file" else run.work / name
