"""Places in a text, and which of them count when they overlap."""

import bisect
import re
from collections.abc import Iterable
from dataclasses import dataclass

SPACED = r"\dA-Za-z_\u00aa-\u024f\u0370-\u052f"
"""Characters, for a class of a pattern, of words that stand apart from a number: digits, Latin,
Greek and Cyrillic letters. Chinese and Japanese ones touch the numbers that they announce."""


@dataclass(frozen=True, slots=True)
class Hit:
    """A range of characters of one kind; it does not hold what stands there."""

    kind: str
    start: int
    end: int


def without_overlaps(hits: Iterable[Hit]) -> list[Hit]:
    """The longest of hits that overlap (of equal ones the first), in the order of the text."""
    kept: list[Hit] = []
    for hit in sorted(hits, key=lambda h: (h.start - h.end, h.start, h.kind)):
        place = bisect.bisect(kept, hit.start, key=lambda h: h.start)
        after = place == len(kept) or hit.end <= kept[place].start
        if after and (not place or kept[place - 1].end <= hit.start):
            kept.insert(place, hit)
    return kept


def holds(words: re.Pattern[str], text: str, start: int, end: int) -> bool:
    """Whether one of `words` stands between two places, which may lie outside of the text."""
    return words.search(text, max(start, 0), max(end, 0)) is not None


def word_set(words: str) -> frozenset[str]:
    """The words of a text that lists them."""
    return frozenset(words.split())
