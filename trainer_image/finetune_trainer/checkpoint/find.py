"""Finds the newest checkpoint that a run can go on from."""

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from finetune_api.errors import InfrastructureError, UserError
from finetune_api.layout import CHECKPOINT_MANIFEST
from finetune_api.reasons import Reason
from pydantic import ValidationError
from safetensors import SafetensorError
from safetensors.torch import load_file

from finetune_trainer.checkpoint.header import (
    CHECKPOINT_VERSION,
    METRICS_FILE,
    STATE_FILE,
    CheckpointHeader,
)
from finetune_trainer.checkpoint.state import Tensors
from finetune_trainer.storage import PreconditionFailed, Store
from finetune_trainer.storage.store import Watch

_PATH = re.compile(rf"/([^/]+)/checkpoints/step-(\d{{8,}})/{re.escape(CHECKPOINT_MANIFEST)}$")
_HEADER_LIMIT = 2**20


@dataclass(frozen=True)
class Found:
    """A checkpoint, checked against its digests."""

    uri: str
    header: CheckpointHeader
    tensors: Tensors
    metrics: bytes


@dataclass(frozen=True)
class Wanted:
    """Which checkpoints would do."""

    store: Store
    uris: list[str]
    """Addresses of objects, among them the checkpoints' headers."""
    scratch: Path
    """Folder to download to."""
    hashes: tuple[str, str]
    """(recipe hash, data hash) that it must carry."""
    accepts: Callable[[CheckpointHeader, Tensors], bool]
    """Whether header and tensors belong to the model at hand."""
    warn: Callable[[str], None]
    """Told of each checkpoint that is passed over because it is damaged."""
    watch: Watch
    """Told of each download."""


def newest(wanted: Wanted) -> Found | None:
    """The checkpoint with the most steps of this recipe on this data, or None."""
    return next(_sound(wanted, _headers(wanted.uris)), None)


def at_step(wanted: Wanted, step: int) -> Found:
    """The checkpoint after `step` steps. Raises InfrastructureError when it is gone."""
    headers = (uri for uri in _headers(wanted.uris) if _step_of(uri) == step)
    found = next(_sound(wanted, headers), None)
    if found is None:
        raise InfrastructureError(
            Reason.STORAGE_UNAVAILABLE,
            f"the checkpoint after step {step}, the best on held-out rows, is gone or damaged",
        )
    return found


def _sound(wanted: Wanted, headers: Iterator[str]) -> Iterator[Found]:
    """Those of `headers` that would do and are what they say."""
    for uri in headers:
        header = _read_header(wanted.store, uri)
        if header is None or (header.recipe_hash, header.data_hash) != wanted.hashes:
            continue
        folder = uri.rpartition("/")[0]
        loaded = _load(wanted, folder, header)
        if loaded is not None and wanted.accepts(header, loaded[0]):
            yield Found(folder, header, *loaded)
        else:
            wanted.warn(f"checkpoint {folder} is damaged; looking for an older one")


def _step_of(uri: str) -> int:
    match = _PATH.search(uri)
    assert match is not None, "headers match"
    return int(match[2])


def _headers(uris: list[str]) -> Iterator[str]:
    """Headers, the most steps first; of equal steps the youngest run's first."""
    matches = ((_PATH.search(uri), uri) for uri in uris)
    keyed = [((int(m[2]), m[1]), uri) for m, uri in matches if m]
    return (uri for _, uri in sorted(keyed, reverse=True))


def _read_header(store: Store, uri: str) -> CheckpointHeader | None:
    try:
        header = CheckpointHeader.model_validate_json(store.read(uri, _HEADER_LIMIT))
    except (ValidationError, UserError):
        return None
    return header if header.version == CHECKPOINT_VERSION else None


def _load(wanted: Wanted, folder: str, header: CheckpointHeader) -> tuple[Tensors, bytes] | None:
    """Tensors and metrics, or None where a file is missing or not what the header says."""
    if {record.path for record in header.files} != {STATE_FILE, METRICS_FILE}:
        return None
    scratch = wanted.scratch / "resume"
    try:
        for record in header.files:
            uri, path = f"{folder}/{record.path}", scratch / record.path
            wanted.store.download(uri, path, expected_sha256=record.sha256, watch=wanted.watch)
        return load_file(scratch / STATE_FILE), (scratch / METRICS_FILE).read_bytes()
    except (UserError, PreconditionFailed, SafetensorError):
        return None
