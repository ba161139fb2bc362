"""Reading JSON lines and JSON arrays, a chunk of rows at a time.

Memory is bounded by the longest row, not by the file.
"""

import codecs
import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

from finetune_api.errors import UserError
from finetune_api.reasons import Reason

from finetune_trainer.data.faults import Fault, InvalidRow, kind_of

MAX_ROW_BYTES = 16 * 2**20
"""Longest line of a JSONL file, and longest row of an array."""
_CHUNK = 2**20
_WHITESPACE = " \t\r\n"
_FOREIGN = {
    b"\x1f\x8b": "gzip",
    b"PAR1": "Parquet",
    b"PK\x03\x04": "a zip archive",
    b"\x28\xb5\x2f\xfd": "Zstandard",
    b"ARROW1": "Arrow",
}

ParsedRow = dict[str, Any] | InvalidRow
NumberedRow = tuple[int, ParsedRow]
"""(row, counted from 1; what it holds)."""


@dataclass(frozen=True)
class Chunk:
    """Consecutive rows of a file, cheap to hand to another process."""

    first: int
    """Number of the first row."""
    content: bytes | list[ParsedRow]
    """Lines that nobody looked into yet, or rows."""
    parse: Callable[[bytes], ParsedRow] | None = None
    """Makes a row of a line; `parse_line` where None."""

    @property
    def last(self) -> int:
        """Number of the last row."""
        if isinstance(self.content, list):
            return self.first + len(self.content) - 1
        return self.first + self.content.count(b"\n")

    @property
    def size(self) -> int:
        """Bytes of the rows; about as many as were read where they are no bytes any more."""
        return len(self.content) if isinstance(self.content, bytes) else _CHUNK

    def rows(self) -> Iterator[NumberedRow]:
        """What it holds; empty lines count, and give no row."""
        if isinstance(self.content, list):
            yield from enumerate(self.content, start=self.first)
            return
        parse = self.parse or parse_line
        for number, line in enumerate(self.content.split(b"\n"), start=self.first):
            if len(line) > MAX_ROW_BYTES:
                yield number, _too_long()
            elif line.strip():
                yield number, parse(line)


def read_rows(path: Path, where: str) -> Iterator[NumberedRow]:
    """(row, value) of each row in the file at `path`; a row that cannot be read is an InvalidRow.

    Rows are numbered from 1: lines in a JSONL file (empty lines count, and give no row),
    positions in an array. UTF-8, with or without a byte order mark. `where` is the file's
    address for errors.

    Raises UserError InvalidData for a file that holds neither, or an array that breaks off:
    what follows the break cannot be read.
    """
    for chunk in read_chunks(path, where):
        yield from chunk.rows()


def read_chunks(path: Path, where: str) -> Iterator[Chunk]:
    """The rows that `read_rows` reads, about a mebibyte at a time. Raises UserError likewise."""
    with path.open("rb") as file:
        start = file.read(8)
        for magic, name in _FOREIGN.items():
            if start.startswith(magic):
                raise UserError(
                    Reason.INVALID_DATA,
                    f"is {name}; give JSON lines or one JSON array, as UTF-8 text",
                    where=where,
                )
        file.seek(len(codecs.BOM_UTF8) if start.startswith(codecs.BOM_UTF8) else 0)
        if _first_byte(file) == b"[":
            yield from _array_chunks(file, where)
        else:
            yield from line_chunks(file)


def _first_byte(file: IO[bytes]) -> bytes:
    """The first byte that is no white space; the position in the file stays."""
    begin = file.tell()
    byte = file.read(1)
    while byte and byte in b" \t\r\n":
        byte = file.read(1)
    file.seek(begin)
    return byte


def line_chunks(
    file: IO[bytes], parse: Callable[[bytes], ParsedRow] | None = None
) -> Iterator[Chunk]:
    """Whole lines; of a line that is too long no more than its beginning is ever held."""
    first, rest = 1, b""
    while block := file.read(_CHUNK):
        lines, end, tail = (rest + block).rpartition(b"\n")
        if end:
            yield Chunk(first, lines, parse)
            first += lines.count(b"\n") + 1
        rest = tail
        if len(rest) > MAX_ROW_BYTES:
            yield Chunk(first, [_too_long()])
            first, rest = first + 1, b""
            _skip_line(file)
    if rest:
        yield Chunk(first, rest, parse)


def _too_long() -> InvalidRow:
    return InvalidRow(Fault.LINE_LENGTH, f"the line is longer than {MAX_ROW_BYTES // 2**20} MiB")


def _skip_line(file: IO[bytes]) -> None:
    while (part := file.readline(_CHUNK)) and not part.endswith(b"\n"):
        pass


def parse_line(line: bytes) -> ParsedRow:
    """The row in a line of UTF-8 JSON."""
    try:
        text = line.decode("utf-8").rstrip("\r\n")
    except UnicodeDecodeError as error:
        return _not_utf8(f" (byte {error.start + 1} of the line)")
    try:
        return _as_row(json.loads(text))
    except json.JSONDecodeError as error:
        message = f"the line is not one JSON value (column {error.colno}: {error.msg})"
        return InvalidRow(Fault.JSON, message)
    except (ValueError, RecursionError):
        return InvalidRow(Fault.JSON, "the line holds a number or nesting that is too long")


def _as_row(value: object) -> ParsedRow:
    if not isinstance(value, dict):
        return InvalidRow(Fault.NOT_AN_OBJECT, f"a row is an object, this is {kind_of(value)}")
    return value


def _not_utf8(detail: str = "") -> InvalidRow:
    return InvalidRow(Fault.ENCODING, f"is not UTF-8{detail}; convert the file to UTF-8")


def _array_chunks(file: IO[bytes], where: str) -> Iterator[Chunk]:
    """Rows of an array, decoded element by element from a growing buffer."""
    window = _Window(file)
    first, rows, begin = 1, list[ParsedRow](), 0
    elements = _array_rows(window, where)
    while True:
        try:
            rows.append(next(elements))
        except (StopIteration, UserError) as end:
            if rows:
                yield Chunk(first, rows)
            if isinstance(end, UserError):
                raise
            return
        if window.consumed - begin >= _CHUNK:
            yield Chunk(first, rows)
            first, rows, begin = first + len(rows), [], window.consumed


def _array_rows(window: "_Window", where: str) -> Iterator[ParsedRow]:
    window.skip_space()
    window.take()  # the opening bracket
    number = 0
    if window.skip_space() == "]":
        return
    while True:
        number += 1
        yield _next_element(window, f"{where}:{number}")
        separator = window.skip_space()
        window.take()
        if separator == "]":
            break
        if separator != "," or window.skip_space() == "":
            raise _broken(f"{where}:{number}")
    if window.skip_space():
        raise UserError(Reason.INVALID_DATA, "text follows the JSON array", where=where)


def _next_element(window: "_Window", where: str) -> ParsedRow:
    window.skip_space()
    try:
        value = window.decode()
    except (ValueError, RecursionError) as error:
        raise _broken(where) from error
    if window.damaged:
        window.damaged = False
        return _not_utf8()
    return _as_row(value)


def _broken(where: str) -> UserError:
    return UserError(
        Reason.INVALID_DATA,
        "the JSON array is broken in or after this row, so the rest cannot be read; mend it or "
        "write one row per line (JSONL), where a bad row can be passed over",
        where=where,
    )


class _Window:
    """A part of a text file that moves forward; undecodable bytes become lone surrogates."""

    def __init__(self, file: IO[bytes]) -> None:
        self._file = file
        self._decoder = codecs.getincrementaldecoder("utf-8")("surrogateescape")
        self._json = json.JSONDecoder()
        self._text = ""
        self._position = 0
        self._ended = False
        self.damaged = False
        """The last decoded value held bytes that are not UTF-8."""
        self.consumed = 0
        """Characters of the values that were decoded."""

    def skip_space(self) -> str:
        """Move to the next character that is no white space and return it; "" at the end."""
        while True:
            while self._position < len(self._text):
                if self._text[self._position] not in _WHITESPACE:
                    return self._text[self._position]
                self._position += 1
            if self._ended:
                return ""
            self._grow()

    def take(self) -> None:
        """Move past one character."""
        self._position += 1

    def decode(self) -> object:
        """The JSON value that begins here. Raises ValueError, RecursionError."""
        while True:
            try:
                value, end = self._json.raw_decode(self._text, self._position)
            except ValueError:
                if self._ended or len(self._text) - self._position > MAX_ROW_BYTES:
                    raise
                self._grow()
                continue
            if end == len(self._text) and not self._ended:
                self._grow()  # a number may go on
                continue
            self.damaged = _has_surrogate_escape(self._text[self._position : end])
            self.consumed += end - self._position
            self._position = end
            return value

    def _grow(self) -> None:
        """Drop what is behind and at least double what lies ahead."""
        ahead = self._text[self._position :]
        data = self._file.read(max(_CHUNK, len(ahead)))
        self._ended = not data
        self._text = ahead + self._decoder.decode(data, final=self._ended)
        self._position = 0


def _has_surrogate_escape(text: str) -> bool:
    if text.isascii():
        return False
    try:
        text.encode("utf-8")
    except UnicodeEncodeError:
        return True
    return False
