"""Rows as flat arrays while they are collected."""

from array import array

import numpy as np
import numpy.typing as npt

from finetune_trainer.data.spans import Span
from finetune_trainer.prepared import Int32, Int64, PreparedSplit


class RowTable:
    """Grows by one row at a time; 4 bytes for each token and 40 for each row."""

    def __init__(self) -> None:
        self._tokens = array("i")
        self._lengths = array("q")
        self._starts = array("i")
        self._ends = array("i")
        self._span_counts = array("q")
        self._source_rows = array("q")
        self._source_files = array("i")
        self._groups = array("q")

    def add(self, tokens: list[int], spans: list[Span], *, file: int, row: int, group: int) -> None:
        """Append a row that came from row `row` of source `file`."""
        self._tokens.extend(tokens)
        self._lengths.append(len(tokens))
        self._starts.extend(start for start, _ in spans)
        self._ends.extend(end for _, end in spans)
        self._span_counts.append(len(spans))
        self._source_rows.append(row)
        self._source_files.append(file)
        self._groups.append(group)

    def to_split(self) -> PreparedSplit:
        """All rows, in the order they came."""
        return PreparedSplit(
            tokens=np.array(self._tokens, dtype=np.int32),
            row_offsets=_offsets(np.array(self._lengths, dtype=np.int64)),
            span_starts=np.array(self._starts, dtype=np.int32),
            span_ends=np.array(self._ends, dtype=np.int32),
            span_offsets=_offsets(np.array(self._span_counts, dtype=np.int64)),
            source_rows=np.array(self._source_rows, dtype=np.int64),
            source_files=np.array(self._source_files, dtype=np.int32),
            group_ids=np.array(self._groups, dtype=np.int64),
        )


def select_rows(split: PreparedSplit, keep: npt.NDArray[np.bool_]) -> PreparedSplit:
    """The rows of `split` for which `keep` [R] is True, in their order."""
    span_counts = np.diff(split.span_offsets)
    tokens: Int32 = split.tokens[np.repeat(keep, split.lengths)]
    kept_spans = np.repeat(keep, span_counts)
    return PreparedSplit(
        tokens=tokens,
        row_offsets=_offsets(split.lengths[keep]),
        span_starts=split.span_starts[kept_spans],
        span_ends=split.span_ends[kept_spans],
        span_offsets=_offsets(span_counts[keep]),
        source_rows=split.source_rows[keep],
        source_files=split.source_files[keep],
        group_ids=split.group_ids[keep],
    )


def _offsets(counts: Int64) -> Int64:
    offsets = np.zeros(len(counts) + 1, dtype=np.int64)
    np.cumsum(counts, out=offsets[1:])
    return offsets
