"""How the units of one global batch are laid out over ranks and forward passes.

Pure functions of the units' sizes, the world size and the micro-batch: a step reads the same units
however they are laid out, so packing and the number of processes change speed, not the result.
"""

import heapq
import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from finetune_trainer.arrays import Int64
from finetune_trainer.prepared import PreparedSplit

Bin = list[int]
"""Positions, within the global batch, of the units that one forward pass reads; empty: a dummy."""
Layout = list[list[Bin]]
"""For each rank its bins; every rank has the same number."""


@dataclass(frozen=True)
class UnitSizes:
    """What the units of a split cost."""

    tokens: Int64
    """[U] tokens of all rows of each unit."""
    longest: Int64
    """[U] tokens of its longest row."""
    rows: Int64
    """[U] number of its rows."""

    @classmethod
    def of(cls, split: PreparedSplit) -> "UnitSizes":
        """Sizes of all units of a split."""
        begins = split.unit_offsets[:-1]
        longest = np.maximum.reduceat(split.lengths, begins) if split.units else split.lengths
        return cls(split.unit_lengths, longest, np.diff(split.unit_offsets))

    def lay_out(self, units: Int64, world_size: int, capacity: int, *, packing: bool) -> Layout:
        """The bins of every rank for `units` [n], packed or padded."""
        if packing:
            return pack(self.tokens[units].tolist(), world_size, capacity)
        return group(self.longest[units].tolist(), self.rows[units].tolist(), world_size, capacity)


def pack(lengths: Sequence[int], world_size: int, capacity: int) -> Layout:
    """Lay units one after another, as evenly as they go, into bins of at most `capacity` tokens.

    Longest processing time first: each unit, from the longest, goes to the emptiest bin, and the
    number of bins grows by the world size until all fit. A unit longer than `capacity` has a bin
    of its own.
    """
    limit = max(capacity, max(lengths))
    count = max(1, math.ceil(sum(lengths) / limit / world_size)) * world_size
    while True:
        bins, fullest = _spread(lengths, count)
        if fullest <= limit:
            return _deal(bins, world_size)
        count += world_size


def group(longest: Sequence[int], rows: Sequence[int], world_size: int, capacity: int) -> Layout:
    """Gather units of like length into padded batches of at most `capacity` tokens, padding
    included."""
    order = sorted(range(len(longest)), key=lambda unit: (-longest[unit], unit))
    bins: list[Bin] = []
    lines = 0
    for unit in order:
        width = longest[bins[-1][0]] if bins else 0
        if bins and width * (lines + rows[unit]) <= capacity:
            bins[-1].append(unit)
            lines += rows[unit]
        else:
            bins.append([unit])
            lines = rows[unit]
    return _deal(bins, world_size)


def _spread(lengths: Sequence[int], count: int) -> tuple[list[Bin], int]:
    """Spread units over `count` bins; also the tokens of the fullest."""
    bins: list[Bin] = [[] for _ in range(count)]
    heap = [(0, index) for index in range(count)]
    for unit in sorted(range(len(lengths)), key=lambda unit: (-lengths[unit], unit)):
        load, index = heapq.heappop(heap)
        bins[index].append(unit)
        heapq.heappush(heap, (load + lengths[unit], index))
    return bins, max(load for load, _ in heap)


def _deal(bins: list[Bin], world_size: int) -> Layout:
    """Deal bins to ranks in turn; ranks that come short get an empty bin."""
    each = math.ceil(len(bins) / world_size)
    padded = bins + [[] for _ in range(each * world_size - len(bins))]
    return [padded[rank::world_size] for rank in range(world_size)]
