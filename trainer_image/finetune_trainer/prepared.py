"""Prepared data: tokens, loss spans, origins and units of rows, as they lie in S3 and on disk.

    prepared/HASH/train.safetensors        one split, the arrays of `PreparedSplit`
    prepared/HASH/evaluation.safetensors   the other; it may hold no rows
    prepared/HASH/*-partners.safetensors   KTO: a partner row for each row of both
    prepared/HASH/*-answers.safetensors    GRPO: the right answers, where rows have some
    prepared/HASH/report.json              the data report, for programs
    prepared/HASH/report.html              the same as a page, for people
    prepared/HASH/prepared.json            `PreparedMetadata`, written last: it commits the rest

Arrays are little-endian and read without a copy: processes of one machine share the pages.
"""

from dataclasses import dataclass, fields
from functools import cached_property
from typing import Annotated, Any

import numpy as np
from finetune_api.fields import ApiModel
from finetune_api.status import DataStatus, Digest
from finetune_api.units import Unit
from pydantic import Field

from finetune_trainer.array_files import Array
from finetune_trainer.arrays import Float32, Int32, Int64, offsets_of, ranges
from finetune_trainer.texts import Texts

PREPARED_VERSION = 4
"""Of the format and of the code that makes tokens from rows; part of the data hash."""
MAX_SAMPLES = 20


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
    """[R] line of the JSONL file, or position in the JSON array, from 1; the files of a source
    are counted through, see `SourceInfo.place`."""
    source_files: Int32
    """[R] index into `PreparedMetadata.sources`."""
    group_ids: Int64
    """[R] equal for rows with an equal prompt, or of equal documents."""
    unit_offsets: Int64
    """[U + 1] where each unit's rows begin; the last is R."""
    row_values: Float32
    """[R] what people said of each row: 1 for a desirable and 0 for an undesirable one (KTO), the
    answer's score (Reward; of pairs 1 and 0); 0 where the method does not ask."""

    def arrays(self) -> dict[str, Array]:
        """The arrays by name."""
        return {field.name: getattr(self, field.name) for field in fields(self)}

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
        return ranges(firsts, self.unit_offsets[units + 1] - firsts)

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
        total = offsets_of(self.span_ends - self.span_starts)
        return np.diff(total[self.span_offsets])

    @cached_property
    def label_offsets(self) -> Int64:
        """[R + 1] where each row's labels begin among those of all rows."""
        return offsets_of(self.label_counts)

    def labels_of(self, rows: Int64) -> Int64:
        """Where the labels of `rows` [N] lie among those of all rows, row after row."""
        return ranges(self.label_offsets[rows], self.label_counts[rows])


class SourceFile(ApiModel):
    """A file that rows came from."""

    uri: str
    sha256: Digest
    """Digest of its bytes."""
    shape: str
    """What its rows were read as, for example "Messages (ShareGPT: conversations)"."""
    lines: int = 0
    """Number of its last row."""


class SourceInfo(ApiModel):
    """A source that rows came from."""

    uri: str
    """Its address in the job."""
    sha256: Digest
    """Digest of its only file, or over the names and digests of several."""
    files: list[SourceFile]
    """In the order in which they were read."""
    rows: int = 0
    """Rows in it, bad ones included."""
    units: int = 0
    """Units of it that go to training."""
    tokens: int = 0
    """Tokens of these."""

    @property
    def lines(self) -> int:
        """Rows of all files, empty lines included."""
        return sum(file.lines for file in self.files)

    @property
    def shapes(self) -> list[str]:
        """What the rows were read as."""
        return sorted({file.shape for file in self.files})

    def place(self, row: int) -> tuple[str, int]:
        """(address of the file, row in it) of one of `PreparedSplit.source_rows`."""
        for file in self.files:
            if row <= file.lines:
                return file.uri, row
            row -= file.lines
        raise IndexError(row)


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
    most_rows: int = 1
    """Rows of the training unit that has most; of a ranking, its answers."""
    evaluation_tokens: int
    """Tokens of the held-out rows."""
    sources: list[SourceInfo]
    """Sources, those of data.train first, then cpt.replay, then data.evaluation;
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
