"""Parquet: values of all types become JSON."""

import datetime as dt
import decimal
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from finetune_trainer.data.faults import Fault, InvalidRow
from finetune_trainer.ingest.failure import UnreadableFile

from tests.unit.trainer.ingest.conftest import Convert


def written(table: pa.Table, tmp_path: Path, **options: Any) -> bytes:
    pq.write_table(table, tmp_path / "table", **options)
    return (tmp_path / "table").read_bytes()


def test_nested_values_become_json(convert: Convert, tmp_path: Path) -> None:
    messages = [[{"role": "user", "content": "Why?"}], [], None]
    table = pa.table(
        {
            "messages": messages,
            "score": pa.array([1.5, float("nan"), None]),
            "label": [True, False, None],
            "tags": pa.array(
                [[("a", 1)], [], [("b", 2), ("b", 3)]], pa.map_(pa.string(), pa.int64())
            ),
            "kind": pa.array(["x", "y", "x"]).dictionary_encode(),
        }
    )
    assert convert(written(table, tmp_path), "a.parquet") == [
        {"messages": messages[0], "score": 1.5, "label": True, "tags": {"a": 1}, "kind": "x"},
        {"messages": [], "score": None, "label": False, "tags": {}, "kind": "y"},
        {
            "messages": None,
            "score": None,
            "label": None,
            "tags": [{"key": "b", "value": 2}, {"key": "b", "value": 3}],
            "kind": "x",
        },
    ]


def test_times_and_decimals_become_text(convert: Convert, tmp_path: Path) -> None:
    noon = dt.datetime(2026, 3, 1, 12, tzinfo=dt.UTC)
    table = pa.table(
        {
            "at": pa.array([noon], pa.timestamp("ns", "Europe/Rome")),
            "nested": pa.array([[dt.datetime(2026, 3, 1)]], pa.list_(pa.timestamp("ns"))),
            "day": [dt.date(2026, 3, 1)],
            "price": [decimal.Decimal("1.50")],
            "half": pa.array([np.float16(0.5)]),
        }
    )
    assert convert(written(table, tmp_path), "a.parquet") == [
        {
            "at": "2026-03-01T12:00:00+00:00",
            "nested": ["2026-03-01T00:00:00"],
            "day": "2026-03-01",
            "price": "1.50",
            "half": 0.5,
        }
    ]


def test_rows_with_bytes_or_infinite_numbers_are_bad(convert: Convert, tmp_path: Path) -> None:
    table = pa.table(
        {"image": pa.array([{"bytes": b"\x89PNG"}, None, None]), "x": [1.0, float("inf"), 2.0]}
    )
    rows = convert(written(table, tmp_path), "a.parquet")
    assert [(row.fault, row.field) for row in rows if isinstance(row, InvalidRow)] == [
        (Fault.TYPE, "image"),
        (Fault.TYPE, "x"),
    ]
    assert rows[2] == {"image": None, "x": 2.0}


def test_all_row_groups_are_read_in_order(convert: Convert, tmp_path: Path) -> None:
    table = pa.table({"n": list(range(5000))})
    rows = convert(written(table, tmp_path, row_group_size=1500), "a.parquet")
    assert [row["n"] for row in rows if isinstance(row, dict)] == list(range(5000))


def test_columns_of_the_same_name_and_broken_files_are_refused(
    convert: Convert, tmp_path: Path
) -> None:
    table = pa.Table.from_arrays([pa.array([1]), pa.array([2])], names=["a", "a"])
    with pytest.raises(UnreadableFile, match="same name"):
        convert(written(table, tmp_path), "a.parquet")
    with pytest.raises(UnreadableFile, match="damaged or no parquet file"):
        convert(written(table, tmp_path)[:-10], "a.parquet")
