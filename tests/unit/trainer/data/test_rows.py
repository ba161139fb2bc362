"""Every bad line or element is told by its row; no value of it is shown."""

import json
from pathlib import Path

import pytest
from finetune_api.errors import UserError
from finetune_api.reasons import Reason
from finetune_trainer.data import rows as rows_module
from finetune_trainer.data.faults import Fault, InvalidRow
from finetune_trainer.data.rows import read_rows


def read(path: Path, content: bytes) -> list[tuple[int, object]]:
    path.write_bytes(content)
    return [
        (number, value.fault if isinstance(value, InvalidRow) else value)
        for number, value in read_rows(path, "s3://b/rows")
    ]


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "rows"


def test_lines_are_numbered_as_an_editor_does(path: Path) -> None:
    assert read(path, b'{"a": 1}\n\n{"a": 2}') == [(1, {"a": 1}), (3, {"a": 2})]


def test_a_byte_order_mark_and_windows_line_ends_are_tolerated(path: Path) -> None:
    content = "\ufeff" + '{"a": "é"}\r\n{"a": 2}\r\n'
    assert read(path, content.encode()) == [(1, {"a": "é"}), (2, {"a": 2})]


@pytest.mark.parametrize(
    ("line", "fault"),
    [
        (b'{"a": 1', Fault.JSON),
        (b"not json", Fault.JSON),
        (b'{"a": 1} {"a": 2}', Fault.JSON),
        (b'{"a": "\xe9"}', Fault.ENCODING),
        (b'"text"', Fault.NOT_AN_OBJECT),
        (b"12", Fault.NOT_AN_OBJECT),
        (b'{"a": ' + b"[" * 100_000, Fault.JSON),
        (b'{"a": ' + b"9" * 5000 + b"}", Fault.JSON),
    ],
)
def test_a_bad_line_is_passed_over_with_its_number(path: Path, line: bytes, fault: Fault) -> None:
    assert read(path, b'{"a": 1}\n' + line + b'\n{"a": 3}\n') == [
        (1, {"a": 1}),
        (2, fault),
        (3, {"a": 3}),
    ]


def test_a_line_without_end_is_bounded(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rows_module, "MAX_ROW_BYTES", 20)
    content = b'{"a": "' + b"x" * 100 + b'"}\n{"a": 2}\n'

    assert read(path, content) == [(1, Fault.LINE_LENGTH), (2, {"a": 2})]


def test_the_message_of_a_bad_line_holds_nothing_of_it(path: Path) -> None:
    path.write_bytes(b'{"password": hunter2}')

    ((_, fault),) = read_rows(path, "s3://b/rows")

    assert isinstance(fault, InvalidRow)
    assert "column" in fault.message
    assert "hunter2" not in fault.message


def test_an_array_is_read_element_by_element(path: Path) -> None:
    values = [{"a": number, "text": "é\\]}," * number} for number in range(40)]

    for indent in (None, 2):
        content = json.dumps(values, ensure_ascii=False, indent=indent).encode()
        assert read(path, content) == list(enumerate(values, start=1))


def test_an_array_bigger_than_the_buffer_is_read(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(rows_module, "_CHUNK", 7)
    values = [{"text": "é" * 50, "n": 10**9 + number} for number in range(5)]

    content = json.dumps(values, ensure_ascii=False).encode()

    assert read(path, content) == list(enumerate(values, start=1))


def test_elements_that_are_no_rows_are_told(path: Path) -> None:
    assert read(path, b'[{"a": "\xe9"}, 5, {"a": 3}]') == [
        (1, Fault.ENCODING),
        (2, Fault.NOT_AN_OBJECT),
        (3, {"a": 3}),
    ]


@pytest.mark.parametrize(
    ("content", "row"),
    [(b'[{"a": 1}, {"a": }]', 2), (b'[{"a": 1}, {"a": 2}', 2), (b'[{"a": 1} {"a": 2}]', 1)],
)
def test_an_array_that_breaks_off_ends_the_file_with_the_row(
    path: Path, content: bytes, row: int
) -> None:
    with pytest.raises(UserError, match="JSONL") as caught:
        read(path, content)

    assert caught.value.reason is Reason.INVALID_DATA
    assert caught.value.where == f"s3://b/rows:{row}"


def test_text_after_the_array_is_refused(path: Path) -> None:
    with pytest.raises(UserError, match="follows"):
        read(path, b'[{"a": 1}] [2]')


def test_an_empty_array_holds_no_rows(path: Path) -> None:
    assert read(path, b" [ ] ") == []


@pytest.mark.parametrize(("magic", "name"), [(b"\x1f\x8b\x08", "gzip"), (b"PAR1", "Parquet")])
def test_other_file_formats_are_named(path: Path, magic: bytes, name: str) -> None:
    with pytest.raises(UserError, match=name):
        read(path, magic + b"\0" * 20)
