"""Plain text and Markdown."""

import codecs
import re
from pathlib import Path

from finetune_trainer.data.faults import Fault
from finetune_trainer.ingest.failure import UnreadableFile
from finetune_trainer.ingest.text import Document, first_line, normalise, title_of

_MARKS = {
    codecs.BOM_UTF32_LE: None,  # before UTF-16, whose mark it begins with
    codecs.BOM_UTF32_BE: None,
    codecs.BOM_UTF8: "utf-8-sig",
    codecs.BOM_UTF16_LE: "utf-16",
    codecs.BOM_UTF16_BE: "utf-16",
}
_CONTROL = re.compile("[\x01-\x08\x0b\x0e-\x1a\x1c-\x1f\x7f]")
_MOST_CONTROLS = 0.05
"""Share of control characters from which on text is taken for binary."""

_FRONT_MATTER = re.compile(r"\A---[ \t]*\n(.*?)^(?:---|\.\.\.)[ \t]*$", re.DOTALL | re.MULTILINE)
_FRONT_TITLE = re.compile(r"^title:(.+)$", re.MULTILINE | re.IGNORECASE)
_FENCE = re.compile(r"^ {0,3}(```|~~~).*?^ {0,3}\1", re.MULTILINE | re.DOTALL)
_HEADING = re.compile(r"^ {0,3}#{1,6}[ \t](.+)$", re.MULTILINE)
_UNDERLINED = re.compile(r"^(?=\S)([^\n]+)\n(?:=+|-{3,})[ \t]*$", re.MULTILINE)
_SEARCHED = 2**16
"""Characters in which a title is looked for."""


def encoding_of(start: bytes, save_as: str = "UTF-8") -> str:
    """The encoding by the byte order mark in the first 4 bytes; UTF-8 without one.

    Raises UnreadableFile ENCODING for UTF-32.
    """
    for mark, encoding in _MARKS.items():
        if start.startswith(mark):
            if encoding is None:
                raise UnreadableFile(Fault.ENCODING, f"is UTF-32: save it as {save_as}")
            return encoding
    return "utf-8"


def read_text(path: Path) -> str:
    """The text of a file in UTF-8, or UTF-16 with a byte order mark.

    Raises UnreadableFile ENCODING for another encoding, FILE for binary content.
    """
    data = path.read_bytes()
    encoding = encoding_of(data[:4])
    try:
        text = data.decode(encoding)
    except UnicodeDecodeError as error:
        raise UnreadableFile(
            Fault.ENCODING,
            f"is not {error.encoding.upper()} (byte {error.start + 1}): convert it to UTF-8",
        ) from error
    if "\0" in text:
        raise UnreadableFile(
            Fault.ENCODING, "holds NUL bytes: it is binary, or UTF-16 without byte order mark"
        )
    if len(_CONTROL.findall(text)) > _MOST_CONTROLS * len(text):
        raise UnreadableFile(Fault.FILE, "is binary: much of it is control characters")
    return text


def read_plain(path: Path) -> Document:
    """The text of a file, titled by its first line. Raises UnreadableFile as `read_text`."""
    text = normalise(read_text(path))
    return Document(text, title_of(first_line(text)))


def read_markdown(path: Path) -> Document:
    """Markdown as it is, titled by its front matter or first heading.

    Raises UnreadableFile as `read_text`.
    """
    text = normalise(read_text(path))
    return Document(text, _markdown_title(text[:_SEARCHED]))


def _markdown_title(text: str) -> str:
    title = None
    if front := _FRONT_MATTER.match(text):
        title = _FRONT_TITLE.search(front[1])
        text = text[front.end() :]
    # A comment in a fenced block of shell looks like a heading.
    text = _FENCE.sub("", text)
    headings = [found for found in (_HEADING.search(text), _UNDERLINED.search(text)) if found]
    first = min(headings, key=lambda found: found.start(), default=None)
    return title_of(
        title[1].strip(" \t'\"") if title else None, first[1].strip(" \t#") if first else None
    )
