"""DOCX: Markdown of what Word shows."""

from collections.abc import Callable
from typing import Any

import pytest
from finetune_trainer.ingest.failure import UnreadableFile

from tests.unit.trainer.ingest.support import W, make_docx, paragraph

Document = Callable[[bytes | str, str], dict[str, Any]]

STYLES = f"""<w:styles xmlns:w="{W}">
<w:style w:styleId="berschrift2"><w:name w:val="heading 2"/></w:style>
<w:style w:styleId="Eigene"><w:name w:val="Eigene"/><w:basedOn w:val="berschrift2"/></w:style>
</w:styles>"""
NUMBERING = f"""<w:numbering xmlns:w="{W}">
<w:abstractNum w:abstractNumId="0"><w:lvl w:ilvl="0"><w:numFmt w:val="bullet"/></w:lvl>
</w:abstractNum>
<w:abstractNum w:abstractNumId="1"><w:lvl w:ilvl="0"><w:numFmt w:val="decimal"/></w:lvl>
</w:abstractNum>
<w:num w:numId="1"><w:abstractNumId w:val="0"/></w:num>
<w:num w:numId="2"><w:abstractNumId w:val="1"/></w:num></w:numbering>"""
PARTS = {"word/styles.xml": STYLES, "word/numbering.xml": NUMBERING}


def item(text: str, number: int, level: int = 0) -> str:
    return paragraph(
        text, f'<w:numPr><w:ilvl w:val="{level}"/><w:numId w:val="{number}"/></w:numPr>'
    )


def run(text: str) -> str:
    return f"<w:r><w:t>{text}</w:t></w:r>"


def test_headings_and_lists_are_markdown(document: Document) -> None:
    body = (
        paragraph("Pumps", '<w:pStyle w:val="berschrift2"/>')
        + paragraph("Valves", '<w:pStyle w:val="Eigene"/>')
        + item("one", 1)
        + item("deeper", 1, 1)
        + item("first", 2)
        + paragraph("The end.")
    )
    row = document(make_docx(body, PARTS), "a.docx")
    assert row["text"] == "## Pumps\n\n## Valves\n\n- one\n  - deeper\n1. first\n\nThe end."
    assert row["title"] == "Pumps"
    assert "pages" not in row


def test_tables_are_pipe_tables_and_lose_no_text(document: Document) -> None:
    cells = [["Part", "Price | net"], ["Valve", f"{paragraph('12')}"]]
    rows = "".join(
        "<w:tr>"
        + "".join(
            f"<w:tc>{cell if cell.startswith('<') else paragraph(cell)}</w:tc>" for cell in row
        )
        + "</w:tr>"
        for row in cells
    )
    nested = f"<w:tbl><w:tr><w:tc>{paragraph('inner')}</w:tc></w:tr></w:tbl>"
    wide = '<w:tr><w:tc><w:tcPr><w:gridSpan w:val="2"/></w:tcPr>' + nested + paragraph("after")
    text = document(make_docx(f"<w:tbl>{rows}{wide}</w:tc></w:tr></w:tbl>"), "a.docx")["text"]
    assert text.split("\n")[:3] == ["| Part | Price \\| net |", "| --- | --- |", "| Valve | 12 |"]
    assert text.split("\n")[3] == "| inner after |  |"


def test_text_in_links_tags_controls_boxes_and_notes_is_kept(document: Document) -> None:
    box = f"<w:r><w:pict><w:txbxContent>{paragraph('boxed')}</w:txbxContent></w:pict></w:r>"
    body = (
        f"<w:p>{run('see ')}<w:hyperlink>{run('the link')}</w:hyperlink>"
        f"<w:smartTag>{run(' Rome')}</w:smartTag>{box}"
        "<w:r><w:tab/><w:t>x</w:t><w:br/><w:t>y</w:t></w:r></w:p>"
        f"<w:sdt><w:sdtContent>{paragraph('controlled')}</w:sdtContent></w:sdt>"
    )
    notes = (
        f'<w:footnotes xmlns:w="{W}"><w:footnote w:type="separator">{paragraph("---")}</w:footnote>'
        f"<w:footnote>{paragraph('noted')}</w:footnote></w:footnotes>"
    )
    row = document(make_docx(body, {"word/footnotes.xml": notes}), "a.docx")
    assert row["text"] == "see the link Rome\tx\ny\n\nboxed\n\ncontrolled\n\nnoted"


def test_tracked_changes_are_taken_as_accepted(document: Document) -> None:
    body = (
        f"<w:p>{run('now ')}<w:ins>{run('inserted')}</w:ins>"
        "<w:del><w:r><w:delText>deleted</w:delText></w:r></w:del>"
        f"<w:moveFrom>{run('moved')}</w:moveFrom></w:p>"
    )
    assert document(make_docx(body), "a.docx")["text"] == "now inserted"


def test_strict_documents_are_read(document: Document) -> None:
    strict = make_docx(paragraph("strict"), {"word/document.xml": _strict("strict text")})
    assert document(strict, "a.docx")["text"] == "strict text"


def _strict(text: str) -> str:
    namespace = "http://purl.oclc.org/ooxml/wordprocessingml/main"
    return f'<w:document xmlns:w="{namespace}"><w:body>{paragraph(text)}</w:body></w:document>'


def test_a_document_type_is_refused_before_its_entities_expand(document: Document) -> None:
    laughs = '<!DOCTYPE d [<!ENTITY a "ha"><!ENTITY b "&a;&a;&a;&a;">]>'
    with pytest.raises(UnreadableFile, match="declares a document type"):
        document(make_docx(paragraph("&b;"), declaration=laughs), "a.docx")


def test_deep_nesting_is_refused(document: Document) -> None:
    body = "<w:sdt>" * 300 + paragraph("deep") + "</w:sdt>" * 300
    with pytest.raises(UnreadableFile, match="nested more than 256 levels"):
        document(make_docx(body), "a.docx")
