"""The n-grams of words of a small set of texts, to be found in a large one."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Self

import numpy as np
import numpy.typing as npt

from finetune_trainer.checks.shingles import UInt64, windows
from finetune_trainer.checks.spool import Block, Int64
from finetune_trainer.checks.words import Words

TEMPLATE_UNITS = 10
TEMPLATE_SHARE = 0.1
"""n-grams of more units than both say are a template, no content."""
_FILTER_BITS = 22
_FILTER_MASK = np.uint64(2**_FILTER_BITS - 1)
_MOST_HITS = 2**20
"""Hits expanded at once."""


@dataclass(frozen=True)
class GramIndex:
    """n-grams of K parts of texts (two parts a unit), sorted by hash."""

    size: int
    """n."""
    hashes: UInt64
    """[D] Distinct, sorted."""
    starts: Int64
    """[D + 1] Where the entries of each hash begin."""
    parts: npt.NDArray[np.int32]
    """[E] Part of each entry."""
    places: npt.NDArray[np.int32]
    """[E] First word of the n-gram in its part."""
    countable: Int64
    """[K] Words of each part in some n-gram that is no template; 1 at least."""
    filter: npt.NDArray[np.bool_]
    """[2^22] Whether a hash ends in these bits: most n-grams of other texts end here."""

    @classmethod
    def of(cls, parts: Sequence[Words], size: int, units: int, chosen: Int64) -> Self:
        """Index the `chosen` ones of the parts, of `size` words at least; parts 2u and 2u + 1
        are those of unit u."""
        grams = [windows(parts[part], size) for part in chosen.tolist()]
        lengths = np.array([len(gram) for gram in grams], np.int64)
        hashes = np.concatenate([np.empty(0, np.uint64), *grams])
        owner = np.repeat(chosen, lengths)
        place = np.arange(len(hashes)) - np.repeat(np.cumsum(lengths) - lengths, lengths)
        kept = ~_template(hashes, owner // 2, max(TEMPLATE_UNITS, int(TEMPLATE_SHARE * units)))
        hashes, owner, place = hashes[kept], owner[kept], place[kept]
        order = np.lexsort((place, owner, hashes))
        distinct, starts = np.unique(hashes[order], return_index=True)
        known = np.zeros(2**_FILTER_BITS, np.bool_)
        known[distinct & _FILTER_MASK] = True
        return cls(
            size=size,
            hashes=distinct,
            starts=np.append(starts, len(order)).astype(np.int64),
            parts=owner[order].astype(np.int32),
            places=place[order].astype(np.int32),
            countable=_countable(owner, place, size, len(parts)),
            filter=known,
        )

    def hits(self, block: Block) -> Iterator[tuple[Int64, Int64, Int64]]:
        """[H], [H], [H] Training unit, part and place of each n-gram that both hold.

        Each triple once, sorted; a training unit's are never divided between two pieces.
        """
        unit, entry = self._found(block)
        sizes = self.starts[entry + 1] - self.starts[entry]
        done = np.concatenate(([0], np.cumsum(sizes)))
        begin = 0
        while begin < len(unit) or begin == 0:
            end = int(np.searchsorted(done, done[begin] + _MOST_HITS))
            if end < len(unit):
                # to the end of the unit, so that its coverage is counted as a whole
                end = int(np.searchsorted(unit, unit[end], "right"))
            yield self._expanded(unit[begin:end], entry[begin:end], sizes[begin:end])
            begin = max(end, begin + 1)

    def _found(self, block: Block) -> tuple[Int64, Int64]:
        """Training units (of the whole spool) and hashes of this index, once each, sorted."""
        empty = np.empty(0, np.int64)
        if len(block.words) < self.size or not len(self.hashes):
            return empty, empty
        grams = windows(block.words, self.size)
        at = np.flatnonzero(self.filter[grams & _FILTER_MASK])
        entry = np.searchsorted(self.hashes, grams[at])
        entry[entry == len(self.hashes)] = 0
        same = self.hashes[entry] == grams[at]
        at, entry = at[same], entry[same]
        unit = np.searchsorted(block.starts, at, "right") - 1
        inside = at + self.size <= block.starts[unit + 1]
        pairs = np.unique(unit[inside] * len(self.hashes) + entry[inside])
        return block.first + pairs // len(self.hashes), pairs % len(self.hashes)

    def _expanded(self, unit: Int64, entry: Int64, sizes: Int64) -> tuple[Int64, Int64, Int64]:
        train = np.repeat(unit, sizes)
        shift = np.repeat(self.starts[entry] - np.cumsum(sizes) + sizes, sizes)
        at = np.arange(len(train)) + shift
        part, place = self.parts[at].astype(np.int64), self.places[at].astype(np.int64)
        order = np.lexsort((place, part, train))
        return train[order], part[order], place[order]


def _template(hashes: UInt64, unit: Int64, most: int) -> npt.NDArray[np.bool_]:
    """[N] Whether an n-gram stands in more than `most` units."""
    if not len(hashes):
        return np.zeros(0, np.bool_)
    _, which = np.unique(hashes, return_inverse=True)
    spread = int(unit.max()) + 1
    once = np.unique(which * spread + unit)
    frequent: npt.NDArray[np.bool_] = np.bincount(once // spread)[which] > most
    return frequent


def _countable(owner: Int64, place: Int64, size: int, parts: int) -> Int64:
    """[K] Words in the n-grams that are left; entries come by part and place."""
    counts = np.zeros(parts, np.int64)
    if len(owner):
        gap = np.minimum(np.diff(place, append=place[-1] + size), size)
        gap[np.append(owner[1:] != owner[:-1], True)] = size
        np.add.at(counts, owner, gap)
    return np.maximum(counts, 1)
