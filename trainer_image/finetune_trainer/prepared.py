"""Prepared data: tokens, loss spans, origins and units of rows, as they lie in S3 and on disk.

    prepared/HASH/train.safetensors        one split, the arrays of `PreparedSplit`
    prepared/HASH/evaluation.safetensors   the other; it may hold no rows
    prepared/HASH/*-partners.safetensors   KTO: a partner row for each row of both
    prepared/HASH/*-answers.safetensors    GRPO: the right answers, where rows have some
    prepared/HASH/report.json              the data report, for people
    prepared/HASH/prepared.json            `PreparedMetadata`, written last: it commits the rest

Arrays are little-endian and read without a copy: processes of one machine share the pages.
"""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, fields
from functools import cached_property
from pathlib import Path
from typing import Annotated, Any, TypeVar

import numpy as np
import numpy.typing as npt
from finetune_api.errors import InfrastructureError
from finetune_api.fields import ApiModel
from finetune_api.reasons import Reason
from finetune_api.status import DataStatus, Digest
from finetune_api.units import Unit
from pydantic import Field, ValidationError
from safetensors.numpy import save_file

from finetune_trainer.storage import Store
from finetune_trainer.texts import Texts

PREPARED_VERSION = 3
"""Of the format and of the code that makes tokens from rows; part of the data hash."""
METADATA_FILE = "prepared.json"
TRAIN_FILE = "train.safetensors"
EVALUATION_FILE = "evaluation.safetensors"
PARTNER_FILES = ("train-partners.safetensors", "evaluation-partners.safetensors")
ANSWER_FILES = ("train-answers.safetensors", "evaluation-answers.safetensors")
MAX_SAMPLES = 20

Int32 = npt.NDArray[np.int32]
Int64 = npt.NDArray[np.int64]
Float32 = npt.NDArray[np.float32]


@dataclass(frozen=True)
class PreparedSplit:
    """R rows in U units, with T tokens and S loss spans in all; every array is read-only.

    A row is what attention and positions stay within. A unit is what globalBatchSize counts and
    what is never torn apart: a row (SFT), a pair of rows, chosen and rejected (DPO), answers from
    the best to the worst (Reward), a prompt (PPO, GRPO), or the pieces of documents that
    fill a block (CPT).

    A span is a half-open range of token positions inside its row. Label tokens are those
    inside spans: the model learns to predict them from the tokens before them. Prompts have none.
    """

    tokens: Int32
    """[T] token ids, row after row."""
    row_offsets: Int64
    """[R + 1] where each row begins in `tokens`; the last is T."""
    span_starts: Int32
    """[S] first position of each span, counted from the start of its row."""
    span_ends: Int32
    """[S] position after each span."""
    span_offsets: Int64
    """[R + 1] where each row's spans begin; the last is S."""
    source_rows: Int64
    """[R] line of the JSONL file, or position in the JSON array, from 1."""
    source_files: Int32
    """[R] index into `PreparedMetadata.sources`."""
    group_ids: Int64
    """[R] equal for rows with an equal prompt, or of equal documents."""
    unit_offsets: Int64
    """[U + 1] where each unit's rows begin; the last is R."""
    row_values: Float32
    """[R] what people said of each row: 1 for a desirable and 0 for an undesirable one (KTO), the
    answer's score (Reward; of pairs 1 and 0); 0 where the method does not ask."""

    def __len__(self) -> int:
        """R."""
        return len(self.row_offsets) - 1

    @property
    def units(self) -> int:
        """U."""
        return len(self.unit_offsets) - 1

    def row(self, index: int) -> tuple[Int32, Int32]:
        """(tokens [L], spans [N, 2]) of row `index`."""
        begin, end = self.row_offsets[index], self.row_offsets[index + 1]
        first, last = self.span_offsets[index], self.span_offsets[index + 1]
        spans = np.stack([self.span_starts[first:last], self.span_ends[first:last]], axis=1)
        return self.tokens[begin:end], spans

    def rows_of(self, units: Int64) -> Int64:
        """The rows of `units` [N], unit after unit."""
        firsts = self.unit_offsets[units]
        return _ranges(firsts, self.unit_offsets[units + 1] - firsts)

    @cached_property
    def lengths(self) -> Int64:
        """[R] tokens of each row."""
        return np.diff(self.row_offsets)

    @cached_property
    def unit_lengths(self) -> Int64:
        """[U] tokens of each unit."""
        return np.diff(self.row_offsets[self.unit_offsets])

    @cached_property
    def unit_sources(self) -> Int32:
        """[U] index into `PreparedMetadata.sources` of each unit's first row."""
        return self.source_files[self.unit_offsets[:-1]]

    @cached_property
    def label_counts(self) -> Int64:
        """[R] label tokens of each row.

        A label at position 0 has nothing before it and is never inside a span.
        """
        sizes = (self.span_ends - self.span_starts).astype(np.int64)
        total: Int64 = np.concatenate([np.zeros(1, np.int64), np.cumsum(sizes)])
        counts: Int64 = total[self.span_offsets[1:]] - total[self.span_offsets[:-1]]
        return counts

    @cached_property
    def label_offsets(self) -> Int64:
        """[R + 1] where each row's labels begin among those of all rows."""
        return np.concatenate([np.zeros(1, np.int64), np.cumsum(self.label_counts)])

    def labels_of(self, rows: Int64) -> Int64:
        """Where the labels of `rows` [N] lie among those of all rows, row after row."""
        return _ranges(self.label_offsets[rows], self.label_counts[rows])


def _ranges(firsts: Int64, counts: Int64) -> Int64:
    """All numbers of the ranges that begin at `firsts` [N] and hold `counts` [N], in order."""
    ends = np.cumsum(counts)
    within = np.arange(int(counts.sum())) - np.repeat(ends - counts, counts)
    numbers: Int64 = np.repeat(firsts, counts) + within
    return numbers


class SourceInfo(ApiModel):
    """A file that rows came from."""

    uri: str
    sha256: Digest
    """Digest of its bytes."""
    shape: str
    """What its rows were read as, for example "Messages (ShareGPT: conversations)"."""
    rows: int
    """Rows in it, bad ones included."""
    units: int = 0
    """Units of it that go to training."""
    tokens: int = 0
    """Tokens of these."""


class SampleRow(ApiModel):
    """A held-out row, as text: to ask the model and compare its answer."""

    prompt_messages: list[dict[str, Any]]
    """The turns before the last answer, as a chat template takes them; empty for documents."""
    prompt_text_rendered: str
    """The same as the model reads it, ready for generation; tokenise it with
    add_special_tokens=False."""
    answer_reference: str
    """The answer in the data; empty for a prompt without one."""


class FileInfo(ApiModel):
    """One of the array files."""

    size: Annotated[int, Field(ge=0)]
    """Bytes."""
    sha256: Digest


class PreparedMetadata(ApiModel):
    """prepared.json."""

    version: int = PREPARED_VERSION
    unit: Unit
    """What the units of both splits are."""
    data_hash: Digest
    tokenizer_digest: Digest
    """Of the tokenizer's files."""
    chat_template: str | None = None
    """The template that rows were rendered with when the tokenizer has none of its own: to be
    published with the result as chat_template.jinja. None: the tokenizer's own was used."""
    sequence_length: int
    """Longest row that was kept, in tokens, at most."""
    counts: DataStatus
    """Units kept, rows dropped, tokens of all training units, first errors."""
    evaluation_tokens: int
    """Tokens of the held-out rows."""
    sources: list[SourceInfo]
    """Files, those of data.train first, then cpt.replay, then data.evaluation;
    PreparedSplit.source_files counts them from 0."""
    samples: list[SampleRow]
    """Up to 20 held-out rows."""
    files: dict[str, FileInfo] = Field(default_factory=dict)
    """The array files by name."""


Splits = tuple[PreparedSplit, PreparedSplit]
"""(to train on, held out)."""
Answers = tuple[Texts, Texts]
"""(of the rows to train on, of those held out)."""


@dataclass(frozen=True)
class Prepared:
    """All that the preparation hands to training."""

    train: PreparedSplit
    evaluation: PreparedSplit
    """Held-out rows; may be empty."""
    metadata: PreparedMetadata
    partners: Splits | None = None
    """KTO: of each unit of both splits the partner row; see `data.partners`."""
    answers: Answers | None = None
    """GRPO: the right answer of each row of both splits; None where no row has one."""


def write_prepared(
    folder: Path,
    train: PreparedSplit,
    evaluation: PreparedSplit,
    metadata: PreparedMetadata,
    partners: Splits | None = None,
    answers: Answers | None = None,
) -> PreparedMetadata:
    """Write the files into `folder`; returns `metadata` with sizes and digests."""
    folder.mkdir(parents=True, exist_ok=True)
    files = {}
    written: dict[str, PreparedSplit | Texts] = {TRAIN_FILE: train, EVALUATION_FILE: evaluation}
    if partners is not None:
        written |= zip(PARTNER_FILES, partners, strict=True)
    if answers is not None:
        written |= zip(ANSWER_FILES, answers, strict=True)
    for name, content in written.items():
        arrays = {field.name: getattr(content, field.name) for field in fields(content)}
        save_file(arrays, folder / name)
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
    arrays = _map_safetensors(path)
    try:
        return kind(**{field.name: arrays[field.name] for field in fields(kind)})
    except KeyError as error:
        raise _damaged(str(path)) from error


_TYPES: Mapping[str, npt.DTypeLike] = {"I32": "<i4", "I64": "<i8", "F32": "<f4", "U8": "u1"}


def _map_safetensors(path: Path) -> dict[str, npt.NDArray[Any]]:
    """The arrays of a safetensors file as read-only views of its pages.

    Format: 8 bytes with the header's length N, N bytes of JSON, then the arrays. The
    safetensors library copies them; these may be larger than memory.
    """
    content = np.memmap(path, dtype=np.uint8, mode="r").view(np.ndarray)
    size = int.from_bytes(content[:8].tobytes(), "little")
    header = json.loads(content[8 : 8 + size].tobytes())
    header.pop("__metadata__", None)
    arrays = {}
    for name, entry in header.items():
        begin, end = (8 + size + offset for offset in entry["data_offsets"])
        arrays[name] = content[begin:end].view(_TYPES[entry["dtype"]])
    return arrays


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
