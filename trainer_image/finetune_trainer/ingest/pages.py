"""Mending the text of printed pages: running heads and feet, words broken at line ends."""

import re
from collections import Counter
from collections.abc import Iterable

_FEWEST_PAGES = 4
_MOST = 0.6
"""A line on a larger share of the pages is a running head or foot."""
_EDGE_LINES = 3
"""Lines at the top and the bottom of a page that are looked at."""
_NUMBER = re.compile(r"\d+")
# Letters on both sides; after the break in lower case. A match begins where a word does, so that
# a run of letters is looked at once, however long.
_BROKEN = re.compile(r"(?<![^\W\d_])([^\W\d_]+)-\n[ \t]*((?![A-Z])[^\W\d_]+)")
_COMPOUND = re.compile(r"(?<![^\W\d_])[^\W\d_]+-[^\W\d_]+")


def without_running_lines(pages: list[str]) -> list[str]:
    """The pages without lines at their top and bottom that repeat on most, but for numbers.

    Fewer than 4 pages stay as they are, and pages that would lose half of their text.
    """
    if len(pages) < _FEWEST_PAGES:
        return pages
    lines = [page.split("\n") for page in pages]
    for _ in range(_EDGE_LINES):
        lines = _without_first(lines)
    lines = [page[::-1] for page in lines]
    for _ in range(_EDGE_LINES):
        lines = _without_first(lines)
    left = ["\n".join(page[::-1]) for page in lines]
    # What makes up most of the text is its content: pages of a form, or of one sentence each.
    return left if sum(map(len, left)) > sum(map(len, pages)) / 2 else pages


def _without_first(pages: list[list[str]]) -> list[list[str]]:
    """The pages' lines, less first ones that most pages begin with."""
    pages = [_from_text(page) for page in pages]
    counts = Counter(_shape(page[0]) for page in pages if page)
    repeated = {shape for shape, count in counts.items() if count > _MOST * len(pages)}
    return [page[1:] if page and _shape(page[0]) in repeated else page for page in pages]


def _from_text(lines: list[str]) -> list[str]:
    """The lines from the first on that is not blank."""
    return lines[next((i for i, line in enumerate(lines) if line.strip()), len(lines)) :]


def _shape(line: str) -> str:
    """The line with all numbers alike."""
    return " ".join(_NUMBER.sub("0", line).split())


def join_broken_words(pages: Iterable[str]) -> list[str]:
    """The pages with words joined that a hyphen breaks at the end of a line.

    The hyphen stays in words that the text has with a hyphen within a line, as well-known.
    """
    pages = list(pages)
    compounds = {word.lower() for page in pages for word in _COMPOUND.findall(page)}

    def join(match: re.Match[str]) -> str:
        hyphenated = f"{match[1]}-{match[2]}"
        return hyphenated if hyphenated.lower() in compounds else match[1] + match[2]

    return [_BROKEN.sub(join, page) for page in pages]
