"""What all text of documents goes through."""

import re
import unicodedata
from dataclasses import dataclass

MAX_TITLE = 200
"""Characters of a title."""

_CONTROLS = "".join(map(chr, [*range(9), 11, *range(14, 32), *range(127, 133), *range(134, 160)]))
# Soft hyphen; zero-width space, word joiner and byte order mark; marks and embeddings of
# writing direction.
_INVISIBLE = "\u00ad\u200b\u2060\ufeff\u061c\u200e\u200f\u202a-\u202e\u2066-\u2069"
_REMOVED = re.compile(f"[{re.escape(_CONTROLS)}{_INVISIBLE}]")
# Zero-width joiners belong to Persian, Indic scripts and emoji; beside Latin letters, spaces
# or nothing they have no use.
_LATIN = "\\x00-\u024f"
_JOINERS = re.compile(
    f"(?<![^{_LATIN}])[\u200c\u200d]+|(?<![\u200c\u200d])[\u200c\u200d]++(?![^{_LATIN}])"
)
_LINE_ENDS = re.compile("\r\n?|\f|\u0085|\u2028|\u2029")
_BLANK_LINES = re.compile(r"\n{4,}")


@dataclass(frozen=True)
class Document:
    """The text of a document."""

    text: str
    title: str
    pages: list[int] | None = None
    """For each page the number of characters of `text` before it; None for one without pages."""


def normalise(text: str) -> str:
    """NFC, line feeds, no invisible characters, at most two blank lines in a row, no space around.

    Two spaces at the end of a line, a line break in Markdown, go too.
    """
    text = _LINE_ENDS.sub("\n", text)
    text = _REMOVED.sub("", text)
    if "\u200c" in text or "\u200d" in text:
        text = _JOINERS.sub("", text)
    text = unicodedata.normalize("NFC", text)
    text = "\n".join(line.rstrip(" \t") for line in text.split("\n"))
    return _BLANK_LINES.sub("\n\n\n", text).strip("\n ")


def title_of(*candidates: str | None) -> str:
    """The first candidate that holds letters, as one line; "" if none does."""
    for candidate in candidates:
        title = " ".join(normalise(candidate or "").split())[:MAX_TITLE]
        if any(character.isalnum() for character in title):
            return title
    return ""


def first_line(text: str) -> str:
    """The first line that is not blank, without Markdown's heading signs."""
    begin = text.lstrip()[: 8 * MAX_TITLE]
    return begin.partition("\n")[0].lstrip("# ")
