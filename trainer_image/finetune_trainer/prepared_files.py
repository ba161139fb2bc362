"""The files of prepared data: written, uploaded, found and read; see `prepared`."""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import fields
from pathlib import Path
from typing import Protocol, TypeVar

from finetune_api.errors import InfrastructureError
from finetune_api.reasons import Reason
from pydantic import ValidationError

from finetune_trainer.array_files import Array, ArrayFile, map_arrays, save_arrays
from finetune_trainer.prepared import (
    PREPARED_VERSION,
    FileInfo,
    Prepared,
    PreparedMetadata,
    PreparedSplit,
)
from finetune_trainer.storage import Store
from finetune_trainer.texts import Texts

METADATA_FILE = "prepared.json"
TRAIN_FILE = "train.safetensors"
EVALUATION_FILE = "evaluation.safetensors"
PARTNER_FILES = ("train-partners.safetensors", "evaluation-partners.safetensors")
ANSWER_FILES = ("train-answers.safetensors", "evaluation-answers.safetensors")


class HasArrays(Protocol):
    """Units or texts, in memory or on disk."""

    def arrays(self) -> Mapping[str, Array | ArrayFile]:
        """The arrays by name."""


def write_prepared(
    folder: Path,
    metadata: PreparedMetadata,
    train: HasArrays,
    evaluation: HasArrays,
    *,
    partners: tuple[HasArrays, HasArrays] | None = None,
    answers: tuple[HasArrays, HasArrays] | None = None,
) -> PreparedMetadata:
    """Write the files into `folder`; returns `metadata` with sizes and digests."""
    folder.mkdir(parents=True, exist_ok=True)
    written = {TRAIN_FILE: train, EVALUATION_FILE: evaluation}
    for names, both in ((PARTNER_FILES, partners), (ANSWER_FILES, answers)):
        if both is not None:
            written |= zip(names, both, strict=True)
    files = {}
    for name, content in written.items():
        save_arrays(folder / name, content.arrays())
        files[name] = _file_info(folder / name)
    complete = metadata.model_copy(update={"files": files})
    text = json.dumps(complete.to_wire(), ensure_ascii=False, indent=1)
    (folder / METADATA_FILE).write_text(text, encoding="utf-8")
    return complete


def upload_prepared(store: Store, folder: Path, uri: str) -> None:
    """Upload what `write_prepared` wrote, the file that commits it last."""
    names = sorted(path.name for path in folder.iterdir() if path.name != METADATA_FILE)
    for name in [*names, METADATA_FILE]:
        store.upload(folder / name, f"{uri}/{name}")


def find_prepared(store: Store, uri: str) -> PreparedMetadata | None:
    """Metadata of prepared data at `uri`; None when it is missing, incomplete or unreadable."""
    if store.stat(f"{uri}/{METADATA_FILE}") is None:
        return None
    text = store.read(f"{uri}/{METADATA_FILE}")
    try:
        metadata = parse_metadata(text, uri)
    except InfrastructureError:
        return None  # made anew, over it
    for name, info in metadata.files.items():
        found = store.stat(f"{uri}/{name}")
        if found is None or found.size != info.size:
            return None
    return metadata


def read_prepared(folder: Path) -> Prepared:
    """Read prepared data that was downloaded to `folder`.

    Raises InfrastructureError (StorageUnavailable) when a file is not what was written, so that
    another attempt downloads it anew.
    """
    metadata = parse_metadata((folder / METADATA_FILE).read_bytes(), str(folder))
    for name, info in metadata.files.items():
        if _file_info(folder / name) != info:
            raise _damaged(str(folder / name))
    train, evaluation = (
        _read(PreparedSplit, folder / name) for name in (TRAIN_FILE, EVALUATION_FILE)
    )
    partners = _read_both(PreparedSplit, folder, PARTNER_FILES, metadata)
    answers = _read_both(Texts, folder, ANSWER_FILES, metadata)
    return Prepared(train, evaluation, metadata, partners, answers)


def parse_metadata(text: bytes, where: str) -> PreparedMetadata:
    """The metadata in `text`. Raises InfrastructureError when it is not of this version."""
    try:
        metadata = PreparedMetadata.parse_wire(json.loads(text))
    except (ValueError, ValidationError) as error:
        raise _damaged(f"{where}/{METADATA_FILE}") from error
    if metadata.version != PREPARED_VERSION:
        raise _damaged(f"{where}/{METADATA_FILE}")
    return metadata


_Arrays = TypeVar("_Arrays", PreparedSplit, Texts)


def _read_both(
    kind: type[_Arrays], folder: Path, names: tuple[str, str], metadata: PreparedMetadata
) -> tuple[_Arrays, _Arrays] | None:
    """What files that not every method has hold of both splits."""
    if not metadata.files.keys() >= set(names):
        return None
    train, evaluation = (_read(kind, folder / name) for name in names)
    return train, evaluation


def _read(kind: type[_Arrays], path: Path) -> _Arrays:
    arrays = map_arrays(path)
    try:
        return kind(**{field.name: arrays[field.name] for field in fields(kind)})
    except KeyError as error:
        raise _damaged(str(path)) from error


def _file_info(path: Path) -> FileInfo:
    with path.open("rb") as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()
    return FileInfo(size=path.stat().st_size, sha256=digest)


def _damaged(where: str) -> InfrastructureError:
    return InfrastructureError(
        Reason.STORAGE_UNAVAILABLE,
        "the prepared data is damaged or of another version; delete its folder under prepared/ "
        "if this returns",
        where=where,
    )
