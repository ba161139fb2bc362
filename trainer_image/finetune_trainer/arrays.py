"""Flat arrays: their types, and things of different sizes laid one after another."""

import numpy as np
import numpy.typing as npt

Int32 = npt.NDArray[np.int32]
Int64 = npt.NDArray[np.int64]
Float32 = npt.NDArray[np.float32]
Bool = npt.NDArray[np.bool_]

_STEP = 2**18
"""Elements that are looked up at once."""


def offsets_of(counts: npt.NDArray[np.integer]) -> Int64:
    """[N + 1] where each of N things begins, from their sizes [N]; the last is the end."""
    offsets = np.zeros(len(counts) + 1, dtype=np.int64)
    np.cumsum(counts, out=offsets[1:])
    return offsets


def ranges(firsts: Int64, counts: Int64) -> Int64:
    """All numbers of the ranges that begin at `firsts` [N] and hold `counts` [N], in order."""
    ends = np.cumsum(counts)
    within = np.arange(int(counts.sum())) - np.repeat(ends - counts, counts)
    numbers: Int64 = np.repeat(firsts, counts) + within
    return numbers


def among(values: npt.NDArray[np.integer], few: npt.NDArray[np.integer]) -> Bool:
    """[N] which of `values` [N] are in `few`; holds little more than the answer, while `np.isin`
    sorts all values."""
    ordered = np.unique(few)
    found = np.zeros(len(values), np.bool_)
    if not len(ordered):
        return found
    for first in range(0, len(values), _STEP):
        part = values[first : first + _STEP]
        places = np.minimum(np.searchsorted(ordered, part), len(ordered) - 1)
        found[first : first + _STEP] = ordered[places] == part
    return found
