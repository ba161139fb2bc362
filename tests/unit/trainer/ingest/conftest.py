"""One converter for all tests of a file, and a way to convert bytes."""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from finetune_trainer.data.faults import InvalidRow
from finetune_trainer.ingest.converter import Converter
from finetune_trainer.ingest.kinds import compression_of, kind_of
from finetune_trainer.ingest.lines import parse_converted_line

Rows = list[dict[str, Any] | InvalidRow]
Convert = Callable[[bytes | str, str], Rows]


@pytest.fixture(scope="module")
def converter() -> Iterator[Converter]:
    with Converter() as converter:
        yield converter


@pytest.fixture
def convert(converter: Converter, tmp_path: Path) -> Convert:
    """The rows of a file with this content and name."""

    def convert(content: bytes | str, name: str) -> Rows:
        path, target = tmp_path / "stored", tmp_path / "rows.jsonl"
        path.write_bytes(content.encode() if isinstance(content, str) else content)
        kind = kind_of(path, name)
        assert kind is not None
        number = converter.convert(path, name, kind, compression_of(path), target)
        rows = [parse_converted_line(line) for line in target.read_bytes().splitlines()]
        assert len(rows) == number
        return rows

    return convert


@pytest.fixture
def document(convert: Convert) -> Callable[[bytes | str, str], dict[str, Any]]:
    """The one row of a document."""

    def document(content: bytes | str, name: str) -> dict[str, Any]:
        [row] = convert(content, name)
        assert isinstance(row, dict)
        return row

    return document
