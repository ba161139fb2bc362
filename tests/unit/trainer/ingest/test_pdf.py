"""PDF: text without what only the printed page needs."""

import io
from collections.abc import Callable
from typing import Any

import pytest
from finetune_trainer.data.faults import Fault
from finetune_trainer.ingest.failure import UnreadableFile
from finetune_trainer.ingest.pages import join_broken_words, without_running_lines
from pypdf import PdfReader, PdfWriter

from tests.unit.trainer.ingest.support import LOREM, make_pdf

Document = Callable[[bytes | str, str], dict[str, Any]]


def test_pages_are_joined_and_each_start_is_told(document: Document) -> None:
    first, second = [LOREM[:70], LOREM[70:]], ["Second page. " + LOREM]
    row = document(make_pdf([first, second], title="Pumps"), "pumps.pdf")
    assert row["title"] == "Pumps"
    assert row["source"] == "pumps.pdf"
    assert row["text"].count("\n\n") == 1
    assert row["pages"] == [0, row["text"].index("Second page.")]


def test_running_heads_feet_and_page_numbers_are_left_out(document: Document) -> None:
    pages = [
        ["ACME Pumps - Manual", f"Chapter on part {part}", part * 60, f"Page {number} of 6"]
        for number, part in enumerate("abcdef", start=1)
    ]
    text = document(make_pdf(pages), "a.pdf")["text"]
    assert "ACME" not in text
    assert "Page " not in text
    assert all(f"Chapter on part {part}" in text for part in "abcdef")


def test_three_pages_keep_lines_that_repeat() -> None:
    pages = ["ACME\nthe first", "ACME\nthe second", "ACME\nthe third"]
    assert without_running_lines(pages) == pages
    four = without_running_lines([*pages, "ACME\nthe fourth"])
    assert four == ["the first", "the second", "the third", "the fourth"]


def test_pages_that_are_all_alike_are_no_running_heads() -> None:
    pages = [f"Certificate\nNumber {n}\nThis pump has passed its test." for n in range(9)]
    assert without_running_lines(pages) == pages


def test_lines_within_pages_stay_even_if_they_repeat() -> None:
    page = "one{0}\ntwo{0}\nthree{0}\nNote:\nfour{0}\nfive{0}\nsix{0}"
    pages = [page.format(letter) for letter in "abcde"]
    assert without_running_lines(pages) == pages


def test_words_broken_at_a_line_end_are_joined() -> None:
    text = "The exam-\nple is a well-\nknown one, as well-known as the Anglo-\nSaxon 1-\n2."
    assert join_broken_words([text]) == [
        "The example is a well-known one, as well-known as the Anglo-\nSaxon 1-\n2."
    ]


@pytest.mark.parametrize("title", [None, "", "Microsoft Word - draft.doc", "report.tex"])
def test_without_a_real_title_the_first_line_is_it(document: Document, title: str | None) -> None:
    row = document(make_pdf([["Pump manual", LOREM]], title=title), "a.pdf")
    assert row["title"] == "Pump manual"


def test_a_scan_needs_ocr(document: Document) -> None:
    with pytest.raises(UnreadableFile, match="needs OCR: 2 of 3 pages hold fewer than 50") as told:
        document(make_pdf([[LOREM], ["7"], []]), "scan.pdf")
    assert told.value.fault is Fault.SCANNED


def encrypted(password: str) -> bytes:
    writer = PdfWriter(clone_from=PdfReader(io.BytesIO(make_pdf([[LOREM]]))))
    writer.encrypt(password, owner_password="owner", algorithm="RC4-128")
    buffer = io.BytesIO()
    writer.write(buffer)
    return buffer.getvalue()


def test_an_encrypted_file_is_named_unless_its_password_is_empty(document: Document) -> None:
    assert document(encrypted(""), "a.pdf")["text"] == LOREM
    with pytest.raises(UnreadableFile, match="is an encrypted PDF: save it without a password"):
        document(encrypted("hidden"), "a.pdf")
