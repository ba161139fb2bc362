"""Reading JSON lines and JSON arrays, one row at a time.

Memory is bounded by the longest row, not by the file.
"""

import codecs
import json
from collections.abc import Iterator
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


def read_rows(path: Path, where: str) -> Iterator[tuple[int, ParsedRow]]:
    """(row, value) of each row in the file at `path`; a row that cannot be read is an InvalidRow.

    Rows are numbered from 1: lines in a JSONL file (empty lines count, and give no row),
    positions in an array. UTF-8, with or without a byte order mark. `where` is the file's
    address for errors.

    Raises UserError InvalidData for a file that holds neither, or an array that breaks off:
    what follows the break cannot be read.
    """
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
            yield from _array_rows(file, where)
        else:
            yield from _line_rows(file)


def _first_byte(file: IO[bytes]) -> bytes:
    """The first byte that is no white space; the position in the file stays."""
    begin = file.tell()
    byte = file.read(1)
    while byte and byte in b" \t\r\n":
        byte = file.read(1)
    file.seek(begin)
    return byte


def _line_rows(file: IO[bytes]) -> Iterator[tuple[int, ParsedRow]]:
    number = 0
    while line := file.readline(MAX_ROW_BYTES + 1):
        number += 1
        if len(line) > MAX_ROW_BYTES and not line.endswith(b"\n"):
            _skip_line(file)
            message = f"the line is longer than {MAX_ROW_BYTES // 2**20} MiB"
            yield number, InvalidRow(Fault.LINE_LENGTH, message)
        elif line.strip():
            yield number, _parse_line(line)


def _skip_line(file: IO[bytes]) -> None:
    while (part := file.readline(_CHUNK)) and not part.endswith(b"\n"):
        pass


def _parse_line(line: bytes) -> ParsedRow:
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


def _array_rows(file: IO[bytes], where: str) -> Iterator[tuple[int, ParsedRow]]:
    """Rows of an array, decoded element by element from a growing buffer."""
    window = _Window(file)
    window.skip_space()
    window.take()  # the opening bracket
    number = 0
    if window.skip_space() == "]":
        return
    while True:
        number += 1
        yield number, _next_element(window, f"{where}:{number}")
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
