"""International telephone numbers that go on in the next line, as printed pages break them."""

import re

from finetune_trainer.checks.hits import Hit
from finetune_trainer.checks.phones import DASHES, SPACES, digits_of, is_international

_FULL = 10
"""Digits of a line that hold a whole number: what stands below is something else."""
_MOST = 13
_GROUP = re.compile(r"\d+")
_WRAPPED = re.compile(
    rf"(?<![\w+＋])\(?[+＋]\d(?:[{SPACES}{DASHES}./()]{{0,3}}\d){{0,{_FULL}}}\)?[{SPACES}{DASHES}]?"
    rf"\n[{SPACES}]{{0,8}}(?!\d{{1,2}}[.)]\s)(?P<rest>\d{{2,8}}(?:[{SPACES}{DASHES}]\d{{2,8}}){{0,3}})"
    r"(?!\d|[.,:]\d)"
)
"""The second line is no point of a list."""


def find_wrapped_phones(text: str) -> list[Hit]:
    """Numbers with + and a calling code whose first line is too short to be one.

    Misses national numbers, which would need a word to announce them in the line before.
    """
    if "\n" not in text or not ("+" in text or "＋" in text):
        return []
    hits = []
    for found in _WRAPPED.finditer(text):
        end = _end(text, found)
        if end is not None:
            hits.append(Hit("Phone", found.start(), end))
    return hits


def _end(text: str, found: re.Match[str]) -> int | None:
    """The end of the last group in the second line that still belongs to the number."""
    start, rest = found.start(), found.start("rest")
    if len(_dialled(text[start:rest])) >= _FULL:
        return None
    ends = [group.end() for group in _GROUP.finditer(text, rest, found.end())]
    numbers = {end: _dialled(text[start:end]) for end in ends}
    fitting = [
        end
        for end, digits in numbers.items()
        if _FULL <= len(digits) <= _MOST and is_international(digits)
    ]
    return max(fitting, default=None)


def _dialled(value: str) -> str:
    """The digits that are dialled from abroad."""
    return digits_of(value.replace("(0)", ""))
