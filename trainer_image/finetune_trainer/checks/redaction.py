"""Placeholders in place of what was found."""

import re
import unicodedata
from collections import Counter
from collections.abc import Callable, Sequence

from finetune_trainer.checks.hits import Hit, without_overlaps

_HUMP = re.compile(r"(?<=[a-z0-9])(?=[A-Z])")
_PLACEHOLDER = re.compile(r"\[([A-Z][A-Z_]*)_(\d{1,9})\]")
_MOST_PASSES = 5
_NUMBERS = frozenset({"Phone", "Card", "Iban", "SocialSecurity"})
"""Kinds that are the same whatever stands between their characters."""


def redact(
    texts: Sequence[str], hits_of: Callable[[str], list[Hit]]
) -> tuple[list[str], Counter[str]]:
    """The texts of one unit with `[EMAIL_1]` and the like in place of each hit; hits per kind.

    Numbers count over all texts in order, and the same value has the same placeholder, so that
    an answer still refers to what its question named. Numbers go on above those of placeholders
    that stand there already. A second run changes nothing: what a check sees only once its
    neighbour is gone is replaced too.
    """
    names = _Names(texts)
    counts: Counter[str] = Counter()
    redacted = list(texts)
    for _ in range(_MOST_PASSES):
        before = counts.total()
        redacted = [_replaced(text, hits_of, names, counts) for text in redacted]
        if counts.total() == before:
            break
    return redacted, counts


def _replaced(
    text: str, hits_of: Callable[[str], list[Hit]], names: "_Names", counts: Counter[str]
) -> str:
    """One text with placeholders for the hits that are seen in it as it stands."""
    parts, place = [], 0
    for hit in without_overlaps(hits_of(text)):
        parts += [text[place : hit.start], names.of(hit.kind, text[hit.start : hit.end])]
        place = hit.end
        counts[hit.kind] += 1
    return "".join([*parts, text[place:]])


class _Names:
    """The placeholders of one unit."""

    def __init__(self, texts: Sequence[str]) -> None:
        self._given: dict[tuple[str, str], str] = {}
        self._last: Counter[str] = Counter()
        for text in texts:
            for name, number in _PLACEHOLDER.findall(text):
                self._last[name] = max(self._last[name], int(number))

    def of(self, kind: str, value: str) -> str:
        key = kind, _normalised(kind, value)
        if key not in self._given:
            name = _HUMP.sub("_", kind).upper()
            self._last[name] += 1
            self._given[key] = f"[{name}_{self._last[name]}]"
        return self._given[key]


def _normalised(kind: str, value: str) -> str:
    """What two spellings of one value have in common."""
    if kind == "Email":
        return unicodedata.normalize("NFKC", value).casefold()
    if kind in _NUMBERS:
        folded = unicodedata.normalize("NFKC", value).casefold()
        return "".join(letter for letter in folded if letter.isalnum())
    return value
