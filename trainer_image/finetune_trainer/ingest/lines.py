"""The lines that the converter writes: a row as a JSON object, or "!" and what is wrong."""

import json
from collections.abc import Mapping
from typing import IO, Any

from finetune_trainer.data.faults import Fault, InvalidRow
from finetune_trainer.data.rows import MAX_ROW_BYTES, ParsedRow

_INVALID = b"!"


class RowWriter:
    """Writes rows as lines; counts them."""

    def __init__(self, file: IO[bytes], *, longest: int | None = MAX_ROW_BYTES) -> None:
        self._file = file
        self._longest = longest
        self.rows = 0

    def write(self, row: Mapping[str, Any]) -> None:
        """Write a row; an invalid one in its place if it is too long or too deep."""
        try:
            line = _encode(row)
        except (ValueError, RecursionError):
            self.write_invalid(InvalidRow(Fault.JSON, "holds nesting that is too deep"))
            return
        if self._longest is not None and len(line) > self._longest:
            message = f"the row is longer than {self._longest // 2**20} MiB"
            self.write_invalid(InvalidRow(Fault.LINE_LENGTH, message))
            return
        self._file.write(line)
        self.rows += 1

    def write_invalid(self, invalid: InvalidRow) -> None:
        """Write what is wrong with the row at this place."""
        write_invalid(self._file, invalid)
        self.rows += 1


def write_invalid(file: IO[bytes], invalid: InvalidRow) -> None:
    """Write one line that stands for a row that cannot be read."""
    fault = {"fault": invalid.fault, "message": invalid.message, "field": invalid.field}
    file.write(_INVALID + _encode(fault))


def parse_converted_line(line: bytes) -> ParsedRow:
    """The row of a line that `RowWriter` wrote, or what is wrong with it."""
    if line.startswith(_INVALID):
        fault = json.loads(line[1:])
        return InvalidRow(Fault(fault["fault"]), fault["message"], fault["field"])
    try:
        row: dict[str, Any] = json.loads(line)
    except RecursionError:  # the stack here may be deeper than it was when the line was written
        return InvalidRow(Fault.JSON, "holds nesting that is too deep")
    return row


def _encode(row: Mapping[str, Any]) -> bytes:
    """JSON and a line feed. Raises ValueError for infinite numbers, RecursionError."""
    try:
        text = json.dumps(row, ensure_ascii=False, allow_nan=False)
        return text.encode("utf-8") + b"\n"
    except UnicodeEncodeError:  # half a surrogate pair: the checks of rows name it
        return json.dumps(row, allow_nan=False).encode("ascii") + b"\n"
