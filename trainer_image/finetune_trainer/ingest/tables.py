"""CSV and TSV: records under a header row."""

import csv
import io
import json
from collections.abc import Iterator
from pathlib import Path

from finetune_trainer.data.faults import Fault, InvalidRow
from finetune_trainer.data.rows import MAX_ROW_BYTES
from finetune_trainer.ingest.failure import UnreadableFile
from finetune_trainer.ingest.lines import RowWriter
from finetune_trainer.ingest.plain import encoding_of

_DELIMITERS = (",", "\t", ";", "|")
_SNIFFED_CHARACTERS = 2**18
_SNIFFED_RECORDS = 50


def write_table(path: Path, delimiter: str | None, writer: RowWriter) -> None:
    """Write each record of the file at `path` as an object of text, JSON lists and JSON objects.

    The first record names the columns. Without `delimiter` it is the one of , ; tab and | that
    splits the first records most evenly. An empty cell is "". Empty lines are passed over.

    Raises UnreadableFile for a file without usable header, in another encoding than UTF-8 or
    UTF-16 with a byte order mark, or with a cell that does not end.
    """
    try:
        with path.open("rb") as raw:
            encoding = encoding_of(raw.read(4), "CSV UTF-8")
            raw.seek(0)
            with io.TextIOWrapper(raw, encoding=encoding, newline="") as file:
                sample = file.read(_SNIFFED_CHARACTERS)
                ended = len(sample) < _SNIFFED_CHARACTERS
                file.seek(0)
                _write_records(file, delimiter or _sniff(sample, ended), writer)
    except UnicodeDecodeError as error:
        raise UnreadableFile(
            Fault.ENCODING,
            f"is not {error.encoding.upper()} after row {writer.rows}: convert it to UTF-8 (in "
            "Excel, save as CSV UTF-8)",
        ) from error


def _write_records(file: io.TextIOWrapper, delimiter: str, writer: RowWriter) -> None:
    csv.field_size_limit(2 * MAX_ROW_BYTES)
    lines = _Lines(file, writer)
    records = csv.reader(lines, delimiter=delimiter, strict=True)
    columns = _columns(records)
    while True:
        lines.begin_record()
        try:
            cells = next(records)
        except StopIteration:
            return
        except csv.Error as error:
            if lines.ended:
                raise UnreadableFile(
                    Fault.FILE, f"a quote that opens after row {writer.rows} is never closed"
                ) from error
            message = "quotes within a quoted cell must be doubled"
            writer.write_invalid(InvalidRow(Fault.RECORD, message))
            continue
        if not cells:
            continue
        if len(cells) != len(columns):
            message = (
                f"has {len(cells)} cells, the header has {len(columns)}; a cell that holds the "
                "delimiter or a line break needs quotes"
            )
            writer.write_invalid(InvalidRow(Fault.RECORD, message))
            continue
        writer.write({name: _value(cell) for name, cell in zip(columns, cells, strict=True)})


def _columns(records: Iterator[list[str]]) -> list[str]:
    try:
        header = next((cells for cells in records if cells), None)
    except csv.Error as error:
        raise UnreadableFile(Fault.FILE, "its header row has broken quotes") from error
    if header is None:
        raise UnreadableFile(Fault.EMPTY, "has no header row")
    columns: dict[str, int] = {}
    for number, name in enumerate(map(str.strip, header), start=1):
        if not name:
            raise UnreadableFile(
                Fault.FILE,
                f"column {number} of the header row has no name; name it or leave the column out "
                "(pandas writes its index so: to_csv(index=False))",
            )
        if name in columns:
            raise UnreadableFile(
                Fault.FILE, f"columns {columns[name]} and {number} have the same name"
            )
        columns[name] = number
    return list(columns)


def _value(cell: str) -> object:
    """The list or object that a cell holds as JSON, or else its text."""
    if cell.lstrip()[:1] not in ("[", "{"):
        return cell
    try:
        return json.loads(cell, parse_constant=_refuse_constant)
    except (ValueError, RecursionError):
        return cell


def _refuse_constant(name: str) -> object:
    raise ValueError(f"{name} is no JSON")


class _Lines:
    """Lines of a text file, for the csv module, that bounds the length of a record."""

    def __init__(self, file: io.TextIOWrapper, writer: RowWriter) -> None:
        self._file = file
        self._writer = writer
        self._length = 0
        self.ended = False

    def begin_record(self) -> None:
        """Count the characters of the record that comes next."""
        self._length = 0

    def __iter__(self) -> "_Lines":
        return self

    def __next__(self) -> str:
        line = self._file.readline(MAX_ROW_BYTES)
        self._length += len(line)
        if self._length >= MAX_ROW_BYTES:
            raise UnreadableFile(
                Fault.LIMIT,
                f"the record after row {self._writer.rows} is longer than "
                f"{MAX_ROW_BYTES // 2**20} MiB; a quote may not be closed",
            )
        if "\0" in line:
            raise UnreadableFile(
                Fault.ENCODING, "holds NUL bytes: it is binary, or UTF-16 without byte order mark"
            )
        if not line:
            self.ended = True
            raise StopIteration
        return line


def _sniff(sample: str, ended: bool) -> str:
    """The delimiter that splits most of the first records into as many cells as the header."""
    best, delimiter = (0.0, 0), _DELIMITERS[0]
    for candidate in _DELIMITERS:
        widths = _widths(sample, candidate, ended)
        if widths and widths[0] > 1:
            share = widths.count(widths[0]) / len(widths)
            if (share, widths[0]) > best:
                best, delimiter = (share, widths[0]), candidate
    return delimiter


def _widths(sample: str, delimiter: str, ended: bool) -> list[int]:
    """The numbers of cells of the first records."""
    widths: list[int] = []
    csv.field_size_limit(_SNIFFED_CHARACTERS)
    try:
        for cells in csv.reader(io.StringIO(sample, newline=""), delimiter=delimiter):
            if cells:
                widths.append(len(cells))
            if len(widths) > _SNIFFED_RECORDS:
                break
    except csv.Error:
        pass  # a cell beyond the sample: what came before it counts
    # The last record may be cut.
    return widths if ended or len(widths) <= 1 else widths[:-1]
