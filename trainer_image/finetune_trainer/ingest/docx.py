"""DOCX: paragraphs, lists and tables as Markdown, by the standard library."""

import zipfile
from collections.abc import Iterator
from pathlib import Path
from xml.etree.ElementTree import Element

from finetune_trainer.data.faults import Fault
from finetune_trainer.ingest.docx_styles import Styles
from finetune_trainer.ingest.docx_xml import Package, W
from finetune_trainer.ingest.failure import Limits, UnreadableFile
from finetune_trainer.ingest.text import Document, first_line, normalise, title_of

_CORE = "docProps/core.xml"
_TITLE = "{http://purl.org/dc/elements/1.1/}title"
_MATH_TEXT = "{http://schemas.openxmlformats.org/officeDocument/2006/math}t"
_FALLBACK = "{http://schemas.openxmlformats.org/markup-compatibility/2006}Fallback"
# Deleted and moved-away text of tracked changes, field codes, and properties.
_LEFT_OUT = {f"{W}{name}" for name in ("del", "moveFrom", "instrText", "delText", "pPr", "rPr")}
_LEFT_OUT.add(_FALLBACK)  # the same text again, for readers that know less
_SIGNS = {f"{W}tab": "\t", f"{W}br": "\n", f"{W}cr": "\n", f"{W}noBreakHyphen": "-"}
_NOTES = (("footnotes", "footnote"), ("endnotes", "endnote"))


def read_docx(path: Path, limits: Limits) -> Document:
    """The text of a document with headings, lists and tables as Markdown, notes at its end.

    Inserted tracked changes are kept, deleted ones left out. Raises UnreadableFile FILE for a
    damaged or encrypted file or one with a document type, LIMIT for one that inflates too far.
    """
    try:
        with zipfile.ZipFile(path) as archive:
            package = Package(archive, path.stat().st_size, limits)
            main = package.main_part()
            body = package.parse(main)
            styles = Styles.of(package, main)
            blocks = list(_blocks(body, styles))
            for part, element in _NOTES:
                blocks += _notes(package, main, part, element, styles)
            title = _title(package)
    except zipfile.BadZipFile as error:
        raise UnreadableFile(Fault.FILE, "is a damaged DOCX: save it again") from error
    text = normalise("\n".join(_spaced(blocks)))
    return Document(text, title_of(title, first_line(text)))


def _title(package: Package) -> str | None:
    return package.parse(_CORE).findtext(f".//{_TITLE}") if package.has(_CORE) else None


def _notes(
    package: Package, main: str, part: str, element: str, styles: Styles
) -> Iterator[tuple[str, bool]]:
    name = package.beside(main, f"{part}.xml")
    if not package.has(name):
        return
    for note in package.parse(name).iter(f"{W}{element}"):
        if note.get(f"{W}type") is None:  # the others are separator lines
            yield from _blocks(note, styles)


def _spaced(blocks: list[tuple[str, bool]]) -> Iterator[str]:
    """The blocks with a blank line between two, unless both are items of lists."""
    in_list = True
    for text, is_item in blocks:
        if not (in_list and is_item):
            yield ""
        yield text
        in_list = is_item


def _blocks(
    parent: Element, styles: Styles, *, in_cell: bool = False
) -> Iterator[tuple[str, bool]]:
    """(text, whether it is an item of a list) of the paragraphs and tables in document order.

    They may lie in content controls, smart tags and the like. A table within a cell of another
    gives its rows as text: Markdown has no such thing.
    """
    for child in parent:
        if child.tag == f"{W}p":
            yield from _paragraph(child, styles)
        elif child.tag == f"{W}tbl" and in_cell:
            yield from ((" ".join(row), False) for row in _rows(child, styles))
        elif child.tag == f"{W}tbl":
            yield _table(child, styles), False
        elif child.tag not in _LEFT_OUT:
            yield from _blocks(child, styles, in_cell=in_cell)


def _paragraph(paragraph: Element, styles: Styles) -> Iterator[tuple[str, bool]]:
    boxes: list[Element] = []
    text = "".join(_pieces(paragraph, boxes)).strip()
    if text:
        prefix, is_item = styles.prefix(paragraph)
        # A line break would end a heading.
        yield prefix + (text.replace("\n", " ") if prefix.startswith("#") else text), is_item
    for box in boxes:
        yield from _blocks(box, styles)


def _pieces(element: Element, boxes: list[Element]) -> Iterator[str]:
    """Texts of a paragraph; text boxes within it are put into `boxes`."""
    for child in element:
        if child.tag in (f"{W}t", _MATH_TEXT):
            yield child.text or ""
        elif child.tag in _SIGNS:
            yield _SIGNS[child.tag]
        elif child.tag == f"{W}txbxContent":
            boxes.append(child)
        elif child.tag not in _LEFT_OUT:
            yield from _pieces(child, boxes)


def _table(table: Element, styles: Styles) -> str:
    """A pipe table; the first row is its header."""
    rows = [[cell.replace("|", "\\|") for cell in row] for row in _rows(table, styles)]
    width = max((len(row) for row in rows), default=0)
    if not width:
        return ""
    lines = ["| " + " | ".join(row + [""] * (width - len(row))) + " |" for row in rows]
    return "\n".join([lines[0], "|" + " --- |" * width, *lines[1:]])


def _rows(table: Element, styles: Styles) -> Iterator[list[str]]:
    """The texts of each row's cells."""
    return (list(_cells(row, styles)) for row in _inside(table, f"{W}tr"))


def _cells(row: Element, styles: Styles) -> Iterator[str]:
    for cell in _inside(row, f"{W}tc"):
        parts = (text for text, _ in _blocks(cell, styles, in_cell=True))
        yield " ".join(" ".join(parts).split())
        span = cell.find(f"{W}tcPr/{W}gridSpan")
        value = span.get(f"{W}val", "") if span is not None else ""
        # A cell over several columns leaves the others empty; no table has more columns.
        yield from [""] * (min(int(value), 64) - 1 if value.isdecimal() else 0)


def _inside(element: Element, tag: str) -> Iterator[Element]:
    """Rows or cells of a table, which may lie in content controls and tracked insertions."""
    for child in element:
        if child.tag == tag:
            if child.find(f"{W}trPr/{W}del") is None:
                yield child
        elif child.tag not in _LEFT_OUT and child.tag != f"{W}tbl":
            yield from _inside(child, tag)
