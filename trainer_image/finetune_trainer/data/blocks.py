"""Documents cut into blocks of equal length."""

from collections.abc import Iterator

import numpy as np

from finetune_trainer.arrays import Int32, Int64, offsets_of
from finetune_trainer.data.spool import UnitSpool
from finetune_trainer.prepared import PreparedSplit

_STEP_TOKENS = 2**20
"""Tokens that are cut at once, and at least one block."""


def cut_into_blocks(documents: UnitSpool, length: int) -> Iterator[PreparedSplit]:
    """Units of exactly `length` tokens, some at a time; the last of each source may be shorter.

    Args:
        documents: A document a row, those of a source one after another.

    Each piece of a document within a block is a row of its own, so that positions restart and
    attention stays within the document. All its tokens but the first are labels: a piece of one
    token has none. A last block of a single token would teach nothing and is left out.
    """
    step = max(1, _STEP_TOKENS // length) * length
    split, tokens = documents.mapped(), documents.arrays()["tokens"]
    for begin, end in _sources(split):
        if (end - begin) % length == 1:
            end -= 1
        for first in range(begin, end, step):
            last = min(first + step, end)
            # Pages of a map that were looked at would stay in memory.
            yield _cut(split, tokens[first:last], np.arange(first, last, length))


def _sources(documents: PreparedSplit) -> Iterator[tuple[int, int]]:
    """Where the tokens of each source begin and end."""
    changes = np.flatnonzero(np.diff(documents.source_files)) + 1
    begins = documents.row_offsets[[0, *changes]].tolist()
    return zip(begins, [*begins[1:], len(documents.tokens)], strict=True)


def _cut(documents: PreparedSplit, tokens: Int32, blocks: Int64) -> PreparedSplit:
    """The blocks that begin at the tokens `blocks` [U] of the documents; they hold `tokens`."""
    offsets, end = documents.row_offsets, blocks[0] + len(tokens)
    first, last = np.searchsorted(offsets, [blocks[0] + 1, end])
    starts = np.union1d(offsets[first:last], blocks)
    lengths = np.diff(starts, append=end)
    document = np.searchsorted(offsets, starts, side="right") - 1
    labelled = lengths > 1
    return PreparedSplit(
        tokens=tokens,
        row_offsets=offsets_of(lengths),
        span_starts=np.ones(int(labelled.sum()), np.int32),
        span_ends=lengths[labelled].astype(np.int32),
        span_offsets=offsets_of(labelled.astype(np.int64)),
        source_rows=documents.source_rows[document],
        source_files=documents.source_files[document],
        group_ids=documents.group_ids[document],
        unit_offsets=np.append(np.searchsorted(starts, blocks), len(starts)),
        row_values=documents.row_values[document],
    )
