"""Which units repeat another one."""

from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import numpy.typing as npt

from finetune_trainer.checks.prints import BANDS
from finetune_trainer.checks.shingles import jaccard
from finetune_trainer.checks.spool import Int64, WordSpool, cached_shingles

UInt64 = npt.NDArray[np.uint64]

SIMILAR = 0.8
"""Jaccard similarity of the shingles of each part, from which units are duplicates."""
FIRST_MEMBERS = 2
NEIGHBOURS = 4
MOST_CANDIDATES = 16
LEAST_SKETCH = 6
"""Equal bytes of the 16 of each part: at J = .8 fewer have a probability of 1 in 4,000."""
_CHUNK = 2**18
_RANGE = 2**15
"""Units whose pairs are in memory at once."""
_UNIT_BITS = np.uint64(32)
_UNIT_MASK = np.uint64(2**32 - 1)


def find_duplicates(spool: WordSpool, similar: float = SIMILAR) -> Int64:
    """[U] For each unit the earlier, kept unit that it repeats, or -1 if it is kept itself.

    Exact duplicates (both parts equal once normalised) and near ones: at least `similar`
    Jaccard of the prompts and at least as much of the answers, so that neither a template nor
    a common short answer makes a duplicate. Each duplicate is compared with the kept unit that
    it is given to: no chains, in which the ends have nothing in common.

    Memory is about 100 bytes a unit; one band of all units is sorted at a time, and the pairs go
    to files in the spool's folder. Work is bounded where many units share a band (chats from
    one template): each is paired with the first 2 members and the 4 before it, and compared
    with 16 kept units at most, those that share most bands first. Pairs whose sketches differ in
    a part are not compared. That loses a pair only if none of the bands that they share (8 of
    25 at J = .8) is a small one, and neither is among the first.
    """
    exact = spool.exact()
    first = _first_of_equals(exact)
    del exact
    originals = np.flatnonzero(first == np.arange(len(first)))
    paths = _spill_pairs(spool, originals)
    try:
        kept = _resolve(spool, paths, len(first), similar)
    finally:
        for path in paths:
            path.unlink(missing_ok=True)
    repeated = first != np.arange(len(first))
    of_first = kept[first[repeated]]
    kept[repeated] = np.where(of_first >= 0, of_first, first[repeated])
    return kept


def _first_of_equals(exact: Int64) -> Int64:
    """[U] The first unit with the same hash."""
    order = np.argsort(exact, kind="stable")
    ordered = exact[order]
    new = np.ones(len(order), np.bool_)
    new[1:] = ordered[1:] != ordered[:-1]
    first = np.empty(len(order), np.int64)
    first[order] = order[new][np.cumsum(new) - 1]
    return first


def _spill_pairs(spool: WordSpool, originals: Int64) -> list[Path]:
    """Pairs of units that share a band, as later << 32 | earlier, a file per range of the "
    "later."""
    count = len(spool) // _RANGE + 1
    paths = [spool.folder / f"pairs-{number:05d}" for number in range(count)]
    for path in paths:
        path.unlink(missing_ok=True)
    for band in range(BANDS):
        pairs = _pairs(spool.band(band)[originals], originals)
        edges = np.searchsorted(
            pairs >> _UNIT_BITS, np.arange(count + 1, dtype=np.uint64) * np.uint64(_RANGE)
        )
        for path, start, end in zip(paths, edges[:-1], edges[1:], strict=True):
            if end > start:
                with path.open("ab") as file:
                    file.write(pairs[start:end].tobytes())
    return [path for path in paths if path.exists()]


def _pairs(hashes: UInt64, units: Int64) -> UInt64:
    """[N] Sorted pairs of one band; each member with the first ones and those before it."""
    order = np.argsort(hashes, kind="stable")
    ordered, members = hashes[order], units[order].astype(np.uint64)
    starts = np.ones(len(order), np.bool_)
    starts[1:] = ordered[1:] != ordered[:-1]
    first = np.flatnonzero(starts)[np.cumsum(starts) - 1]
    rank = np.arange(len(order)) - first
    found = []
    for back in range(1, NEIGHBOURS + 1):
        later = np.flatnonzero(rank >= back)
        found.append(members[later] << _UNIT_BITS | members[later - back])
    for place in range(FIRST_MEMBERS):
        later = np.flatnonzero(rank > place + NEIGHBOURS)
        found.append(members[later] << _UNIT_BITS | members[first[later] + place])
    pairs: UInt64 = np.sort(np.concatenate(found))
    return pairs


def _resolve(spool: WordSpool, paths: list[Path], units: int, similar: float) -> Int64:
    """[U] Go through the units in order and give each to a kept one that it is similar to."""
    kept = np.full(units, -1, np.int64)
    shingles, sketches = cached_shingles(spool), spool.sketches()

    def alike(one: int, other: int) -> bool:
        parts = zip(shingles(one), shingles(other), strict=True)
        return all(jaccard(a, b) >= similar for a, b in parts)

    for path in paths:
        for unit, candidates in _candidates(np.fromfile(path, np.uint64), sketches):
            kept[unit] = _kept_alike(unit, candidates, kept, alike)
    return kept


def _candidates(pairs: UInt64, sketches: npt.NDArray[np.uint8]) -> Iterator[tuple[int, list[int]]]:
    """Each unit with the earlier ones that it shares bands with, most bands first."""
    unique, shared = np.unique(pairs, return_counts=True)
    likely = _likely(unique, sketches)
    unique, shared = unique[likely], shared[likely]
    later = (unique >> _UNIT_BITS).astype(np.int64)
    earlier = (unique & _UNIT_MASK).astype(np.int64)
    order = np.lexsort((earlier, -shared, later))
    later, earlier = later[order], earlier[order]
    starts = np.flatnonzero(np.diff(later, prepend=-1))
    for start, end in zip(starts, np.append(starts, len(later))[1:], strict=True):
        yield int(later[start]), earlier[start:end].tolist()


def _likely(pairs: UInt64, sketches: npt.NDArray[np.uint8]) -> npt.NDArray[np.bool_]:
    """[N] Whether both parts of each pair may be similar, by their sketches."""
    likely = np.empty(len(pairs), np.bool_)
    for first in range(0, len(pairs), _CHUNK):
        chunk = pairs[first : first + _CHUNK]
        same = sketches[chunk >> _UNIT_BITS] == sketches[chunk & _UNIT_MASK]
        likely[first : first + _CHUNK] = (same.sum(axis=2) >= LEAST_SKETCH).all(axis=1)
    return likely


def _kept_alike(
    unit: int, candidates: list[int], kept: Int64, alike: Callable[[int, int], bool]
) -> int:
    """The first kept unit that `unit` repeats, or -1."""
    tried: set[int] = set()
    for candidate in candidates:
        representative = int(kept[candidate])
        if representative < 0:
            representative = candidate
        if representative in tried:
            continue
        if alike(unit, representative):
            return representative
        tried.add(representative)
        if len(tried) == MOST_CANDIDATES:
            break
    return -1
