"""Rows and units as flat arrays while they are collected."""

from array import array
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from finetune_trainer.arrays import Int32, offsets_of
from finetune_trainer.data.spans import Span
from finetune_trainer.prepared import PreparedSplit
from finetune_trainer.texts import Texts

TokenRow = tuple[list[int], list[Span]]
"""(token ids, label spans)."""


class UnitTable:
    """Grows by one unit at a time; 4 bytes for each token and about 50 for each row."""

    def __init__(self) -> None:
        self._tokens = array("i")
        self._lengths = array("q")
        self._starts = array("i")
        self._ends = array("i")
        self._span_counts = array("q")
        self._source_rows = array("q")
        self._source_files = array("i")
        self._groups = array("q")
        self._row_counts = array("q")
        self._values = array("f")
        self._answers = bytearray()
        self._answer_lengths = array("q")

    def add(
        self,
        rows: Sequence[TokenRow],
        *,
        file: int,
        row: int,
        group: int,
        values: Sequence[float] = (),
        answer: str = "",
    ) -> None:
        """Append a unit of `rows` that came from row `row` of source `file`; `values` are what
        people said of each, if the method asks, and `answer` the right one to a prompt."""
        for tokens, spans in rows:
            self._tokens.fromlist(tokens)
            self._lengths.append(len(tokens))
            for start, end in spans:
                self._starts.append(start)
                self._ends.append(end)
            self._span_counts.append(len(spans))
            self._source_rows.append(row)
            self._source_files.append(file)
            self._groups.append(group)
        self._row_counts.append(len(rows))
        self._values.extend(values or [0.0] * len(rows))
        encoded = answer.encode()
        self._answers += encoded
        self._answer_lengths.append(len(encoded))

    def to_split(self) -> PreparedSplit:
        """All units, in the order they came."""
        return PreparedSplit(
            tokens=np.array(self._tokens, dtype=np.int32),
            row_offsets=offsets_of(np.array(self._lengths, dtype=np.int64)),
            span_starts=np.array(self._starts, dtype=np.int32),
            span_ends=np.array(self._ends, dtype=np.int32),
            span_offsets=offsets_of(np.array(self._span_counts, dtype=np.int64)),
            source_rows=np.array(self._source_rows, dtype=np.int64),
            source_files=np.array(self._source_files, dtype=np.int32),
            group_ids=np.array(self._groups, dtype=np.int64),
            unit_offsets=offsets_of(np.array(self._row_counts, dtype=np.int64)),
            row_values=np.array(self._values, dtype=np.float32),
        )

    def answers(self) -> Texts:
        """The right answer of each unit, in the order they came."""
        return Texts(
            np.array(self._answers, dtype=np.uint8),
            offsets_of(np.array(self._answer_lengths, dtype=np.int64)),
        )


def select_units(split: PreparedSplit, keep: npt.NDArray[np.bool_]) -> PreparedSplit:
    """The units of `split` for which `keep` [U] is True, in their order."""
    row_counts = np.diff(split.unit_offsets)
    rows = np.repeat(keep, row_counts)
    span_counts = np.diff(split.span_offsets)
    tokens: Int32 = split.tokens[np.repeat(rows, split.lengths)]
    spans = np.repeat(rows, span_counts)
    return PreparedSplit(
        tokens=tokens,
        row_offsets=offsets_of(split.lengths[rows]),
        span_starts=split.span_starts[spans],
        span_ends=split.span_ends[spans],
        span_offsets=offsets_of(span_counts[rows]),
        source_rows=split.source_rows[rows],
        source_files=split.source_files[rows],
        group_ids=split.group_ids[rows],
        unit_offsets=offsets_of(row_counts[keep]),
        row_values=split.row_values[rows],
    )
