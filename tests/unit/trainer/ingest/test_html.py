"""HTML: the main text of a page."""

from collections.abc import Callable
from typing import Any

import pytest
from finetune_trainer.data.faults import Fault
from finetune_trainer.ingest.failure import UnreadableFile

from tests.unit.trainer.ingest.support import LOREM, make_html

Document = Callable[[bytes | str, str], dict[str, Any]]


def test_main_text_is_kept_with_tables_and_without_navigation(document: Document) -> None:
    table = "<table><tr><th>Part</th><th>Price</th></tr><tr><td>Valve</td><td>12</td></tr></table>"
    link = "<p>Read <a href='https://example.com/x'>the handbook</a> on snake_case [1].</p>"
    row = document(make_html(table + link), "a.html")
    assert row["title"] == "Pump manual"
    assert "# Pumps" in row["text"]
    assert "| Valve | 12 |" in row["text"]
    assert "Read the handbook on snake_case [1]." in row["text"]
    assert "example.com" not in row["text"]
    assert "Shop" not in row["text"]


def test_code_keeps_its_backslashes(document: Document) -> None:
    row = document(make_html("<pre><code>re.sub(r'\\_', a_b)</code></pre>"), "a.html")
    assert "re.sub(r'\\_', a_b)" in row["text"]


def test_a_page_without_main_text_gives_its_body(document: Document) -> None:
    page = "<html><head><script>x()</script></head><body><b>Closed</b> today</body></html>"
    assert "Closed" in document(page, "a.html")["text"]
    assert "x()" not in document(page, "a.html")["text"]


@pytest.mark.parametrize(
    ("encoding", "label"),
    [("utf-8", "utf-8"), ("utf-16", "utf-8"), ("cp1252", "iso-8859-1"), ("shift_jis", "Shift_JIS")],
)
def test_the_declared_encoding_is_used(document: Document, encoding: str, label: str) -> None:
    words = "日本語" if label == "Shift_JIS" else "Grüße"
    page = make_html(f"<p>{words}</p>").replace("'utf-8'", f"'{label}'")
    assert words in document(page.encode(encoding), "a.html")["text"]


@pytest.mark.parametrize("label", ["rot13", "unicode_escape", "no-such", "zlib"])
def test_what_is_no_encoding_is_refused(document: Document, label: str) -> None:
    with pytest.raises(UnreadableFile, match="declares an unknown encoding") as told:
        document(make_html("").replace("'utf-8'", f"'{label}'"), "a.html")
    assert told.value.fault is Fault.ENCODING


def test_an_undeclared_encoding_is_not_guessed(document: Document) -> None:
    page = f"<html><body><p>Grüße {LOREM}</p></body></html>"
    with pytest.raises(
        UnreadableFile, match="is not UTF-8, and declares no other: save it as UTF-8"
    ):
        document(page.encode("cp1252"), "a.html")


def test_text_that_the_parser_would_lose_is_not_lost_silently(document: Document) -> None:
    page = make_html("<div>" * 5000 + "<p>deep</p>" + "</div>" * 5000)
    with pytest.raises(UnreadableFile, match="nested too deeply"):
        document(page, "a.html")
