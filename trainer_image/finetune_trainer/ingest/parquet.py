"""Parquet files, a bounded batch of rows at a time."""

import math
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
from pyarrow import types

from finetune_trainer.data.faults import Fault, InvalidRow
from finetune_trainer.ingest.failure import UnreadableFile
from finetune_trainer.ingest.lines import RowWriter

_BATCH_BYTES = 16 * 2**20
_BATCH_ROWS = 1024
_MAX_DEPTH = 64
"""Levels of nesting of a column's type."""

Plain = Callable[[Any], Any]
"""From a value as pyarrow gives it to one of JSON. Raises InvalidRow."""


def write_parquet(path: Path, writer: RowWriter) -> None:
    """Write each row of the file at `path`.

    Nested values become JSON; dates, times and decimals text; NaN null. A row that holds bytes
    or an infinite number is invalid. Raises UnreadableFile; ValueError or OSError of pyarrow
    for damaged files.
    """
    # No threads: each reserves address space, which is bounded.
    with pq.ParquetFile(path, pre_buffer=False) as file:
        schema = file.schema_arrow
        if len(set(schema.names)) != len(schema.names):
            raise UnreadableFile(Fault.FILE, "two of its columns have the same name")
        target = pa.schema([(field.name, _simple(field.type)) for field in schema])
        columns = [(field.name, _plain(field.type)) for field in target]
        for batch in _batches(file):
            arrays = [
                column if column.type == field.type else column.cast(field.type, safe=False)
                for column, field in zip(batch.columns, target, strict=True)
            ]
            for position in range(batch.num_rows):
                _write_row(columns, arrays, position, writer)


def _batches(file: pq.ParquetFile) -> Iterator[pa.RecordBatch]:
    for group in range(file.num_row_groups):
        metadata = file.metadata.row_group(group)
        rows = max(1, metadata.num_rows)
        each = max(1, metadata.total_byte_size // rows)
        size = min(_BATCH_ROWS, max(1, _BATCH_BYTES // each))
        yield from file.iter_batches(batch_size=size, row_groups=[group], use_threads=False)


def _write_row(
    columns: list[tuple[str, Plain]], arrays: list[pa.Array], position: int, writer: RowWriter
) -> None:
    row = {}
    for (name, plain), array in zip(columns, arrays, strict=True):
        try:
            row[name] = plain(array[position].as_py())
        except InvalidRow as error:
            writer.write_invalid(InvalidRow(error.fault, error.message, name))
            return
        except UnicodeDecodeError:
            writer.write_invalid(InvalidRow(Fault.ENCODING, "is not UTF-8", name))
            return
        except (ValueError, OverflowError):
            writer.write_invalid(InvalidRow(Fault.TYPE, "holds a date or time out of range", name))
            return
    writer.write(row)


def _simple(kind: pa.DataType, depth: int = 0) -> pa.DataType:
    """The type to cast to: no dictionaries or extensions, times in microseconds and UTC."""
    if depth > _MAX_DEPTH:
        raise UnreadableFile(Fault.FILE, f"a column is nested more than {_MAX_DEPTH} levels deep")
    if isinstance(kind, pa.BaseExtensionType):
        return _simple(kind.storage_type, depth + 1)
    if types.is_dictionary(kind) or types.is_run_end_encoded(kind):
        return _simple(kind.value_type, depth + 1)
    # Python's times have microseconds, and its time zones need files that images may lack.
    if types.is_timestamp(kind):
        return pa.timestamp("us", "UTC" if kind.tz else None)
    if types.is_time(kind):
        return pa.time64("us")
    if types.is_duration(kind):
        return pa.duration("us")
    if types.is_struct(kind):
        return pa.struct([(field.name, _simple(field.type, depth + 1)) for field in kind])
    if types.is_map(kind):
        return pa.map_(_simple(kind.key_type, depth + 1), _simple(kind.item_type, depth + 1))
    if _is_list(kind):
        return pa.large_list(_simple(kind.value_type, depth + 1))
    return kind


def _is_list(kind: pa.DataType) -> bool:
    return bool(
        types.is_list(kind)
        or types.is_large_list(kind)
        or types.is_fixed_size_list(kind)
        or types.is_list_view(kind)
        or types.is_large_list_view(kind)
    )


def _plain(kind: pa.DataType) -> Plain:
    """How values of a type that `_simple` gave become JSON."""
    if types.is_floating(kind):
        return _number
    if types.is_binary(kind) or types.is_large_binary(kind) or types.is_fixed_size_binary(kind):
        return _bytes
    if types.is_binary_view(kind):
        return _bytes
    if types.is_temporal(kind) or types.is_decimal(kind):
        return _text
    if types.is_struct(kind):
        return _struct({field.name: _plain(field.type) for field in kind})
    if types.is_map(kind):
        return _map(_plain(kind.key_type), _plain(kind.item_type))
    if _is_list(kind):
        return _list(_plain(kind.value_type))
    return lambda value: value


def _number(value: Any) -> Any:
    if value is None or math.isnan(value):
        return None
    if math.isinf(value):
        raise InvalidRow(Fault.TYPE, "holds an infinite number")
    return float(value)


def _bytes(value: Any) -> Any:
    if value is None:
        return None
    raise InvalidRow(Fault.TYPE, "holds bytes (an image, audio or a file), not text")


def _text(value: Any) -> Any:
    if value is None:
        return None
    return value.isoformat() if hasattr(value, "isoformat") else str(value)


def _struct(fields: dict[str, Plain]) -> Plain:
    def plain(value: Any) -> Any:
        if value is None:
            return None
        return {name: convert(value[name]) for name, convert in fields.items()}

    return plain


def _list(element: Plain) -> Plain:
    def plain(value: Any) -> Any:
        return None if value is None else [element(each) for each in value]

    return plain


def _map(key: Plain, item: Plain) -> Plain:
    """An object where keys are texts that differ; else pairs, as objects of a list."""

    def plain(value: Any) -> Any:
        if value is None:
            return None
        pairs = [(key(name), item(each)) for name, each in value]
        names = [name for name, _ in pairs]
        if all(isinstance(name, str) for name in names) and len(set(names)) == len(names):
            return dict(pairs)
        return [{"key": name, "value": each} for name, each in pairs]

    return plain
