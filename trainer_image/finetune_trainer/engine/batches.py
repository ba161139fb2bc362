"""Turns rows of tokens into the tensors of one forward pass."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch

from finetune_trainer.engine.packing import Bin, Layout, group, pack
from finetune_trainer.prepared import PreparedSplit

IGNORED = -100
"""Target of a position that predicts no label token."""


@dataclass(frozen=True)
class MicroBatch:
    """One forward pass. B = 1 when packed; T = tokens of all rows, or of the longest."""

    input_ids: torch.Tensor
    """int64 [B, T]"""
    position_ids: torch.Tensor
    """int64 [B, T]; starts at 0 with every row."""
    targets: torch.Tensor
    """int64 [B, T]; the token after each position where that is a label of the row, or -100."""
    label_positions: torch.Tensor
    """int64 [L]; flat positions whose target counts."""
    attention_mask: torch.Tensor | None
    """int64 [B, T], 1 on tokens; None when packed: position_ids alone separate the rows."""
    tokens: int
    """Tokens without padding."""
    labels: int
    """L"""

    def to(self, device: torch.device) -> "MicroBatch":
        """The same batch on `device`."""
        mask = self.attention_mask
        return MicroBatch(
            input_ids=self.input_ids.to(device, non_blocking=True),
            position_ids=self.position_ids.to(device, non_blocking=True),
            targets=self.targets.to(device, non_blocking=True),
            label_positions=self.label_positions.to(device, non_blocking=True),
            attention_mask=None if mask is None else mask.to(device, non_blocking=True),
            tokens=self.tokens,
            labels=self.labels,
        )


def row_lengths(split: PreparedSplit) -> npt.NDArray[np.int64]:
    """Tokens of every row: int64 [rows]."""
    return np.diff(split.row_offsets)


def lay_out(lengths: Sequence[int], world_size: int, capacity: int, *, packing: bool) -> Layout:
    """The bins of every rank, packed or padded."""
    return (pack if packing else group)(lengths, world_size, capacity)


def make_batch(
    split: PreparedSplit, rows: npt.NDArray[np.int64], chosen: Bin, *, packing: bool
) -> MicroBatch:
    """The tensors of one bin; an empty bin gives two tokens without a label."""
    if not chosen:
        return _assemble([(np.zeros(2, np.int64), np.full(2, IGNORED, np.int64))], packing=packing)
    return _assemble([_row(split, int(rows[position])) for position in chosen], packing=packing)


def _row(split: PreparedSplit, row: int) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
    """(tokens int64 [T], targets int64 [T]) of one row."""
    start, end = split.row_offsets[row], split.row_offsets[row + 1]
    tokens = split.tokens[start:end].astype(np.int64)
    is_label = np.zeros(len(tokens), bool)
    for span in range(split.span_offsets[row], split.span_offsets[row + 1]):
        is_label[split.span_starts[span] : split.span_ends[span]] = True
    targets = np.full(len(tokens), IGNORED, np.int64)
    targets[:-1] = np.where(is_label[1:], tokens[1:], IGNORED)
    return tokens, targets


def _assemble(
    parts: list[tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]], *, packing: bool
) -> MicroBatch:
    lengths = [len(tokens) for tokens, _ in parts]
    shape = (1, sum(lengths)) if packing else (len(parts), max(lengths))
    input_ids, position_ids, mask = (np.zeros(shape, np.int64) for _ in range(3))
    targets = np.full(shape, IGNORED, np.int64)
    start = 0
    for index, (tokens, row_targets) in enumerate(parts):
        line, begin = (0, start) if packing else (index, 0)
        place = slice(begin, begin + len(tokens))
        input_ids[line, place] = tokens
        position_ids[line, place] = np.arange(len(tokens))
        targets[line, place] = row_targets
        mask[line, place] = 1
        start += len(tokens)
    positions = np.flatnonzero(targets != IGNORED)
    return MicroBatch(
        input_ids=torch.from_numpy(input_ids),
        position_ids=torch.from_numpy(position_ids),
        targets=torch.from_numpy(targets),
        label_positions=torch.from_numpy(positions),
        attention_mask=None if packing else torch.from_numpy(mask),
        tokens=sum(lengths),
        labels=len(positions),
    )
