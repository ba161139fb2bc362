"""CSV and TSV: cells under the names of their columns."""

import pytest
from finetune_trainer.data.faults import Fault, InvalidRow
from finetune_trainer.ingest.failure import UnreadableFile

from tests.unit.trainer.ingest.conftest import Convert


def fault_of(row: object) -> tuple[Fault, str]:
    assert isinstance(row, InvalidRow)
    return row.fault, row.message


@pytest.mark.parametrize("delimiter", [",", ";", "\t", "|"])
def test_the_delimiter_is_found(convert: Convert, delimiter: str) -> None:
    text = "prompt,answer\nWhy?,Because; of this | that\nHow?,So\n".replace(",", delimiter)
    if delimiter in (";", "|"):
        text = text.replace("Because; of this | that", "Because, of this")
    assert convert(text, "a.csv")[1] == {"prompt": "How?", "answer": "So"}


def test_quoted_cells_hold_delimiters_quotes_and_line_breaks(convert: Convert) -> None:
    rows = convert('a,b\r\n"x, ""y""\r\nz",\r\n', "a.csv")
    assert rows == [{"a": 'x, "y"\r\nz', "b": ""}]


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16"])
def test_encodings_with_a_mark_are_read(convert: Convert, encoding: str) -> None:
    assert convert("a,b\nä,€\n".encode(encoding), "a.csv") == [{"a": "ä", "b": "€"}]


def test_tsv_is_split_at_tabs_only(convert: Convert) -> None:
    assert convert("text\none, two\n", "a.tsv") == [{"text": "one, two"}]


def test_cells_that_are_json_lists_or_objects_are_parsed(convert: Convert) -> None:
    rows = convert('a,b\n"[{""role"": ""user""}]",[draft] not JSON\n1,[NaN]\n', "a.csv")
    assert rows == [
        {"a": [{"role": "user"}], "b": "[draft] not JSON"},
        {"a": "1", "b": "[NaN]"},
    ]


def test_a_bad_record_is_a_bad_row_and_the_others_are_read(convert: Convert) -> None:
    rows = convert('a,b\n1\n\n1,2,3\n"x"y,2\n3,4\n', "a.csv")
    assert fault_of(rows[0]) == (
        Fault.RECORD,
        "has 1 cells, the header has 2; a cell that holds the delimiter or a line break needs "
        "quotes",
    )
    assert fault_of(rows[1])[0] is Fault.RECORD
    assert "doubled" in fault_of(rows[2])[1]
    assert rows[3] == {"a": "3", "b": "4"}


@pytest.mark.parametrize(
    ("content", "fault", "said"),
    [
        (b"a,,c\n1,2,3\n", Fault.FILE, "column 2 of the header row has no name"),
        (b"secret,b,secret\n1,2,3\n", Fault.FILE, "columns 1 and 3 have the same name"),
        (b"\n\n", Fault.EMPTY, "no header row"),
        ("a,b\nä,1\n".encode("cp1252"), Fault.ENCODING, "is not UTF-8 after row 0: convert it"),
        ("a,b\n1,2\n".encode("utf-16-le"), Fault.ENCODING, "UTF-16 without byte order mark"),
        ("a,b\n1,2\n".encode("utf-32"), Fault.ENCODING, "is UTF-32"),
        (b'a,b\n1,2\n3,"open\n5,6\n', Fault.FILE, "a quote that opens after row 1 is never closed"),
        (b'a,b\n1,"' + b"x" * (17 * 2**20) + b'"\n', Fault.LIMIT, "after row 0 is longer than 16"),
    ],
)
def test_an_unusable_table_is_refused(
    convert: Convert, content: bytes, fault: Fault, said: str
) -> None:
    with pytest.raises(UnreadableFile) as refused:
        convert(content, "a.csv")
    assert refused.value.fault is fault
    assert said in refused.value.message
    assert "secret" not in refused.value.message
