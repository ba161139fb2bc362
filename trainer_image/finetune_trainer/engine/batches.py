"""Turns units of tokens into the tensors of one forward pass."""

from dataclasses import dataclass, fields, replace
from itertools import accumulate
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from finetune_trainer.engine.packing import Bin
from finetune_trainer.prepared import PreparedSplit

IGNORED = -100
"""Target of a position that predicts no label token."""

Int64 = npt.NDArray[np.int64]
Float32 = npt.NDArray[np.float32]


@dataclass(frozen=True)
class MicroBatch:
    """One forward pass over N rows. B = 1 when packed, else N; T = tokens of all rows, or of the
    longest."""

    input_ids: torch.Tensor
    """int64 [B, T]"""
    position_ids: torch.Tensor
    """int64 [B, T]; starts at 0 with every row."""
    targets: torch.Tensor
    """int64 [B, T]; the token after each position where that is a label of the row, or -100."""
    label_positions: torch.Tensor
    """int64 [L]; flat positions whose target counts."""
    label_rows: torch.Tensor
    """int64 [L]; which of the N rows each label belongs to. The rows of a unit are neighbours."""
    reference: torch.Tensor | None
    """float32 [N]; log-probability of each row's labels under the reference model."""
    attention_mask: torch.Tensor | None
    """int64 [B, T], 1 on tokens; None when packed: position_ids alone separate the rows."""
    row_bounds: torch.Tensor | None
    """int32 [N + 1]; 0 and the end of each row of a pack, None when padded."""
    rows: int
    """N; 0 in a dummy, which has two tokens and no label."""
    units: int
    tokens: int
    """Tokens without padding."""
    labels: int
    """L"""

    def to(self, device: torch.device) -> "MicroBatch":
        """The same batch on `device`."""
        tensors: dict[str, Any] = {
            field.name: value.to(device, non_blocking=True)
            for field in fields(self)
            if isinstance(value := getattr(self, field.name), torch.Tensor)
        }
        return replace(self, **tensors)


def make_batch(
    split: PreparedSplit,
    units: Int64,
    chosen: Bin,
    *,
    packing: bool,
    reference: Float32 | None = None,
) -> MicroBatch:
    """The tensors of one bin of the global batch `units` [n].

    Args:
        reference: [R] log-probability of each row of the split under the reference model.
    """
    rows = split.rows_of(units[chosen]) if chosen else np.zeros(0, np.int64)
    parts = [_row(split, int(row)) for row in rows]
    if not parts:
        parts = [(np.zeros(2, np.int64), np.full(2, IGNORED, np.int64))]
    known = None if reference is None else torch.from_numpy(reference[rows])
    batch = _assemble(parts, packing=packing)
    return replace(
        batch,
        reference=known,
        rows=len(rows),
        units=len(chosen),
        tokens=batch.tokens if chosen else 0,
    )


def _row(split: PreparedSplit, row: int) -> tuple[Int64, Int64]:
    """(tokens int64 [T], targets int64 [T]) of one row."""
    start, end = split.row_offsets[row], split.row_offsets[row + 1]
    tokens = split.tokens[start:end].astype(np.int64)
    is_label = np.zeros(len(tokens), bool)
    for span in range(split.span_offsets[row], split.span_offsets[row + 1]):
        is_label[split.span_starts[span] : split.span_ends[span]] = True
    targets = np.full(len(tokens), IGNORED, np.int64)
    targets[:-1] = np.where(is_label[1:], tokens[1:], IGNORED)
    return tokens, targets


def _assemble(parts: list[tuple[Int64, Int64]], *, packing: bool) -> MicroBatch:
    lengths = [len(tokens) for tokens, _ in parts]
    shape = (1, sum(lengths)) if packing else (len(parts), max(lengths))
    input_ids, position_ids, mask, row_of = (np.zeros(shape, np.int64) for _ in range(4))
    targets = np.full(shape, IGNORED, np.int64)
    start = 0
    for index, (tokens, row_targets) in enumerate(parts):
        line, begin = (0, start) if packing else (index, 0)
        place = slice(begin, begin + len(tokens))
        input_ids[line, place] = tokens
        position_ids[line, place] = np.arange(len(tokens))
        targets[line, place] = row_targets
        mask[line, place] = 1
        row_of[line, place] = index
        start += len(tokens)
    positions = np.flatnonzero(targets != IGNORED)
    return MicroBatch(
        input_ids=torch.from_numpy(input_ids),
        position_ids=torch.from_numpy(position_ids),
        targets=torch.from_numpy(targets),
        label_positions=torch.from_numpy(positions),
        label_rows=torch.from_numpy(row_of.ravel()[positions]),
        reference=None,
        attention_mask=None if packing else torch.from_numpy(mask),
        row_bounds=_bounds(lengths) if packing else None,
        rows=len(parts),
        units=0,
        tokens=sum(lengths),
        labels=len(positions),
    )


def _bounds(lengths: list[int]) -> torch.Tensor:
    return torch.tensor([0, *accumulate(lengths)], dtype=torch.int32)
