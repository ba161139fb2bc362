"""Documents cut into blocks of equal length."""

import numpy as np

from finetune_trainer.arrays import Int64, offsets_of
from finetune_trainer.data.table import select_units
from finetune_trainer.prepared import PreparedSplit


def cut_into_blocks(documents: PreparedSplit, length: int) -> PreparedSplit:
    """Units of exactly `length` tokens; the last of each source may be shorter.

    Args:
        documents: A document a row, those of a source one after another.

    Each piece of a document within a block is a row of its own, so that positions restart and
    attention stays within the document. All its tokens but the first are labels: a piece of one
    token has none. A last block of a single token would teach nothing and is left out.
    """
    blocks = _block_starts(documents, length)
    starts = np.union1d(documents.row_offsets[:-1], blocks)
    lengths = np.diff(starts, append=len(documents.tokens))
    document = np.searchsorted(documents.row_offsets, starts, side="right") - 1
    labelled = lengths > 1
    cut = PreparedSplit(
        tokens=documents.tokens,
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
    whole = cut.unit_lengths > 1
    return cut if whole.all() else select_units(cut, whole)


def _block_starts(documents: PreparedSplit, length: int) -> Int64:
    """[U] token at which each block begins; every source begins one."""
    changes = np.flatnonzero(np.diff(documents.source_files)) + 1
    begins = documents.row_offsets[[0, *changes]].tolist()
    ends = [*begins[1:], len(documents.tokens)]
    cuts = [np.arange(*span, length) for span in zip(begins, ends, strict=True)]
    return np.concatenate(cuts).astype(np.int64)
