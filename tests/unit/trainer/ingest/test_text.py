"""Plain text and Markdown, and what all text goes through."""

from collections.abc import Callable
from typing import Any

import pytest
from finetune_trainer.data.faults import Fault
from finetune_trainer.ingest.failure import UnreadableFile
from finetune_trainer.ingest.text import normalise

Document = Callable[[bytes | str, str], dict[str, Any]]


@pytest.mark.parametrize(
    ("text", "wanted"),
    [
        ("a\r\nb\rc\fd", "a\nb\nc\nd"),
        ("a\n\n\n\n\n\nb", "a\n\n\nb"),
        ("a\n\n\nb", "a\n\n\nb"),
        ("a  \nb", "a\nb"),
        ("e\u0301", "é"),
        ("hy\u00adphen zero\u200bwidth \u202eevil\u202c \ufeff.", "hyphen zerowidth evil ."),
        ("in\u200dvisi\u200cble", "invisible"),
        ("می\u200cخواهم", "می\u200cخواهم"),
        ("👩\u200d💻", "👩\u200d💻"),
        ("bell\x07 tab\tkept", "bell tab\tkept"),
    ],
)
def test_text_is_normalised(text: str, wanted: str) -> None:
    assert normalise(text) == wanted


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16"])
def test_plain_text_is_one_row(document: Document, encoding: str) -> None:
    row = document("Übersicht\n\nText.\n".encode(encoding), "a.txt")
    assert row == {"text": "Übersicht\n\nText.", "title": "Übersicht", "source": "a.txt"}


def test_json_lines_in_a_text_file_are_text(document: Document) -> None:
    assert document('{"a": 1}\n{"a": 2}\n', "a.txt")["text"] == '{"a": 1}\n{"a": 2}'


@pytest.mark.parametrize(
    ("markdown", "title"),
    [
        ("---\nauthor: x\ntitle: 'Front'\n---\n# Heading\n", "Front"),
        ("```sh\n# comment\n```\n\n# Heading #\n", "Heading"),
        ("Under\n=====\n\n# Later\n", "Under"),
        ("just text\nmore", "just text"),
        ("![](x.png)\n", "x.png"),
    ],
)
def test_the_title_of_markdown(document: Document, markdown: str, title: str) -> None:
    row = document(markdown, "notes.md")
    assert title in row["title"]
    assert row["text"] == markdown.strip()


@pytest.mark.parametrize(
    ("content", "fault", "said"),
    [
        ("Grüße".encode("cp1252"), Fault.ENCODING, "is not UTF-8 (byte 3): convert it to UTF-8"),
        ("text".encode("utf-16-le"), Fault.ENCODING, "UTF-16 without byte order mark"),
        (b"\x01\x02\x03abc", Fault.FILE, "is binary"),
        (b" \n\n", Fault.EMPTY, "holds no text"),
        (b"", Fault.EMPTY, "holds no text"),
    ],
)
def test_what_is_no_text_is_refused(
    document: Document, content: bytes, fault: Fault, said: str
) -> None:
    with pytest.raises(UnreadableFile) as refused:
        document(content, "a.txt")
    assert refused.value.fault is fault
    assert said in refused.value.message
