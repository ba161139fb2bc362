"""How the rows of one global batch are laid out over ranks and forward passes.

Pure functions of the row lengths, the world size and the micro-batch: a step reads the same rows
however they are laid out, so packing and the number of processes change speed, not the result.
"""

import heapq
import math
from collections.abc import Sequence

Bin = list[int]
"""Positions, within the global batch, of the rows that one forward pass reads; empty: a dummy."""
Layout = list[list[Bin]]
"""For each rank its bins; every rank has the same number."""


def pack(lengths: Sequence[int], world_size: int, capacity: int) -> Layout:
    """Lay rows one after another, as evenly as they go, into bins of at most `capacity` tokens.

    Longest processing time first: each row, from the longest, goes to the emptiest bin, and the
    number of bins grows by the world size until all fit. A row longer than `capacity` has a bin
    of its own.
    """
    limit = max(capacity, max(lengths))
    count = max(1, math.ceil(sum(lengths) / limit / world_size)) * world_size
    while True:
        bins, fullest = _spread(lengths, count)
        if fullest <= limit:
            return _deal(bins, world_size)
        count += world_size


def group(lengths: Sequence[int], world_size: int, capacity: int) -> Layout:
    """Gather rows of like length into padded batches of at most `capacity` tokens, padding
    included."""
    order = sorted(range(len(lengths)), key=lambda row: (-lengths[row], row))
    bins: list[Bin] = []
    for row in order:
        longest = lengths[bins[-1][0]] if bins else 0
        if bins and longest * (len(bins[-1]) + 1) <= capacity:
            bins[-1].append(row)
        else:
            bins.append([row])
    return _deal(bins, world_size)


def _spread(lengths: Sequence[int], count: int) -> tuple[list[Bin], int]:
    """Spread rows over `count` bins; also the tokens of the fullest."""
    bins: list[Bin] = [[] for _ in range(count)]
    heap = [(0, index) for index in range(count)]
    for row in sorted(range(len(lengths)), key=lambda row: (-lengths[row], row)):
        load, index = heapq.heappop(heap)
        bins[index].append(row)
        heapq.heappush(heap, (load + lengths[row], index))
    return bins, max(load for load, _ in heap)


def _deal(bins: list[Bin], world_size: int) -> Layout:
    """Deal bins to ranks in turn; ranks that come short get an empty bin."""
    each = math.ceil(len(bins) / world_size)
    padded = bins + [[] for _ in range(each * world_size - len(bins))]
    return [padded[rank::world_size] for rank in range(world_size)]
