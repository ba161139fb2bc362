"""Turns units of tokens into the tensors of one forward pass."""

from collections.abc import Mapping
from dataclasses import dataclass, field, fields, replace
from itertools import accumulate
from types import MappingProxyType
from typing import Any, NamedTuple

import numpy as np
import torch

from finetune_trainer.arrays import Bool, Float32, Int64
from finetune_trainer.engine.packing import Bin
from finetune_trainer.prepared import PreparedSplit

IGNORED = -100
"""Target of a position that predicts no label token."""


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
    is_answer: torch.Tensor | None
    """bool [L]; False for labels in the prompt of a unit's first row; None where there are none."""
    reference: torch.Tensor | None
    """float32 [N]; log-probability of each row's labels under the reference model."""
    values: torch.Tensor
    """float32 [N]; `PreparedSplit.row_values`."""
    row_units: torch.Tensor
    """int64 [N]; which of the units each row belongs to."""
    last_positions: torch.Tensor
    """int64 [N]; flat position of each row's last token; [1] in a dummy."""
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
    given: Mapping[str, float] = field(default_factory=dict)
    """What `Objective.preliminary` found over the whole global batch."""
    facts: Mapping[str, torch.Tensor] = field(default_factory=dict)
    """Name -> float32 [L]: what was found of each label before this pass (online methods)."""

    def to(self, device: torch.device) -> "MicroBatch":
        """The same batch on `device`."""
        tensors: dict[str, Any] = {
            each.name: value.to(device, non_blocking=True)
            for each in fields(self)
            if isinstance(value := getattr(self, each.name), torch.Tensor)
        }
        facts = {name: fact.to(device, non_blocking=True) for name, fact in self.facts.items()}
        return replace(self, **tensors, facts=facts)


def make_batch(
    split: PreparedSplit,
    units: Int64,
    chosen: Bin,
    *,
    packing: bool,
    reference: Float32 | None = None,
    prompts: bool = False,
    given: Mapping[str, float] | None = None,
    facts: Mapping[str, Float32] = MappingProxyType({}),
) -> MicroBatch:
    """The tensors of one bin of the global batch `units` [n].

    Args:
        reference: [R] log-probability of each row of the split under the reference model.
        prompts: the tokens of each unit's first row count as labels from the second on.
        facts: name -> [labels of the split], row after row.
    """
    rows = split.rows_of(units[chosen]) if chosen else np.zeros(0, np.int64)
    first = set(split.unit_offsets[units[chosen]].tolist()) if prompts and chosen else set()
    parts = [_row(split, int(row), whole=int(row) in first) for row in rows]
    if not parts:
        parts = [_Part.empty()]
    known = None if reference is None else torch.from_numpy(reference[rows])
    batch = _assemble(parts, packing=packing, prompts=prompts)
    return replace(
        batch,
        reference=known,
        values=torch.from_numpy(split.row_values[rows]),
        row_units=torch.from_numpy(_unit_of_rows(split, units[chosen])),
        given=given or {},
        facts=_facts_of(split, rows, facts),
        rows=len(rows),
        units=len(chosen),
        tokens=batch.tokens if chosen else 0,
    )


def _facts_of(
    split: PreparedSplit, rows: Int64, facts: Mapping[str, Float32]
) -> dict[str, torch.Tensor]:
    if not facts:
        return {}
    places = split.labels_of(rows)
    return {name: torch.from_numpy(values[places]) for name, values in facts.items()}


def _unit_of_rows(split: PreparedSplit, units: Int64) -> Int64:
    counts = split.unit_offsets[units + 1] - split.unit_offsets[units]
    return np.repeat(np.arange(len(units)), counts)


class _Part(NamedTuple):
    """One row of T tokens."""

    tokens: Int64
    targets: Int64
    """The token after each where that is a label, or IGNORED."""
    in_span: Bool
    """Whether that token lies in a loss span."""

    @classmethod
    def empty(cls) -> "_Part":
        """Two tokens without a label."""
        return cls(np.zeros(2, np.int64), np.full(2, IGNORED, np.int64), np.zeros(2, np.bool_))


def _row(split: PreparedSplit, row: int, *, whole: bool) -> _Part:
    """One row; all its tokens but the first are labels where it is read whole."""
    start, end = split.row_offsets[row], split.row_offsets[row + 1]
    tokens = split.tokens[start:end].astype(np.int64)
    in_span = np.zeros(len(tokens), np.bool_)
    for span in range(split.span_offsets[row], split.span_offsets[row + 1]):
        in_span[split.span_starts[span] : split.span_ends[span]] = True
    in_span = np.append(in_span[1:], False)  # of the token that each position predicts
    targets = np.full(len(tokens), IGNORED, np.int64)
    is_label = in_span if not whole else np.arange(len(tokens)) < len(tokens) - 1
    targets[is_label] = tokens[1:][is_label[:-1]]
    return _Part(tokens, targets, in_span)


def _assemble(parts: list[_Part], *, packing: bool, prompts: bool) -> MicroBatch:
    lengths = [len(part.tokens) for part in parts]
    shape = (1, sum(lengths)) if packing else (len(parts), max(lengths))
    input_ids, position_ids, mask, row_of = (np.zeros(shape, np.int64) for _ in range(4))
    targets = np.full(shape, IGNORED, np.int64)
    in_span = np.zeros(shape, np.bool_)
    start = 0
    last = []
    for index, part in enumerate(parts):
        size = len(part.tokens)
        line, begin = (0, start) if packing else (index, 0)
        place = slice(begin, begin + size)
        input_ids[line, place] = part.tokens
        position_ids[line, place] = np.arange(size)
        targets[line, place] = part.targets
        in_span[line, place] = part.in_span
        mask[line, place] = 1
        row_of[line, place] = index
        last.append(line * shape[1] + begin + size - 1)
        start += size
    positions = np.flatnonzero(targets != IGNORED)
    return MicroBatch(
        input_ids=torch.from_numpy(input_ids),
        position_ids=torch.from_numpy(position_ids),
        targets=torch.from_numpy(targets),
        label_positions=torch.from_numpy(positions),
        label_rows=torch.from_numpy(row_of.ravel()[positions]),
        is_answer=torch.from_numpy(in_span.ravel()[positions]) if prompts else None,
        reference=None,
        values=torch.zeros(len(parts)),
        row_units=torch.zeros(len(parts), dtype=torch.int64),
        last_positions=torch.tensor(last),
        attention_mask=None if packing else torch.from_numpy(mask),
        row_bounds=_bounds(lengths) if packing else None,
        rows=len(parts),
        units=0,
        tokens=sum(lengths),
        labels=len(positions),
    )


def _bounds(lengths: list[int]) -> torch.Tensor:
    return torch.tensor([0, *accumulate(lengths)], dtype=torch.int32)
