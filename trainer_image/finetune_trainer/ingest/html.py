"""HTML: the main text of a page as Markdown, by trafilatura."""

import codecs
import re
from pathlib import Path

import lxml.html
import trafilatura
from lxml import etree

from finetune_trainer.data.faults import Fault
from finetune_trainer.ingest.failure import UnreadableFile
from finetune_trainer.ingest.plain import encoding_of
from finetune_trainer.ingest.text import Document, normalise, title_of

_META = re.compile(
    rb"<meta[^>]{0,512}?charset\s{0,8}=\s{0,8}[\"']?\s{0,8}([A-Za-z0-9_.:-]{1,40})", re.I
)
_XML = re.compile(rb"^\s*<\?xml[^>]{0,256}?encoding\s*=\s*[\"']([A-Za-z0-9_.:-]{1,40})", re.I)
_DECLARED_IN = 4096
"""Bytes in which an encoding is declared."""
_MAX_TREE = 1_000_000
"""Elements of a page that trafilatura is given; it is slow on more."""
_ENCODINGS = re.compile(
    r"utf-8|ascii|iso8859-\d+|cp(125\d|866|874|932|949)|koi8-[ru]|gb(2312|k|18030)|big5(hkscs)?"
    r"|euc_(jp|kr)|shift_jis|iso2022_jp|mac-roman|tis-620"
)
# Browsers read these as their Windows superset.
_SUPERSETS = {"ascii": "cp1252", "iso8859-1": "cp1252", "iso8859-9": "cp1254", "gb2312": "gb18030"}
# trafilatura escapes signs that Markdown would read; a model is to see snake_case without them.
_CODE = re.compile(r"((?<!\\)```.*?(?:```|\Z)|(?<![\\`])`[^`\n]+`)", re.DOTALL)
_ESCAPED = re.compile(r"(?<!\\)(\\+)([*_`~\[\]<])")
_NO_TEXT = ("script", "style", "noscript", "template", "nav", "form", "svg", "head")


def read_html(path: Path) -> Document:
    """The main text with headings and tables, without links and navigation.

    A page in which no main text is found gives all text of its body.

    Raises UnreadableFile ENCODING if the page is not in the encoding that its byte order mark
    or meta element declares (UTF-8 without one).
    """
    page = _decode(path.read_bytes())
    tree = _parse(page)
    text = None
    if sum(1 for _ in tree.iter()) <= _MAX_TREE:
        text = trafilatura.extract(
            page,
            output_format="markdown",
            include_links=False,
            include_images=False,
            include_tables=True,
            include_comments=False,
        )
    text = normalise(_unescaped(text or "")) or normalise(_body_text(tree))
    return Document(text, title_of(tree.findtext(".//title"), tree.findtext(".//h1")))


def _unescaped(markdown: str) -> str:
    """The Markdown without the backslashes before signs, outside of code."""
    parts = _CODE.split(markdown)
    parts[::2] = [_ESCAPED.sub(_without_backslash, part) for part in parts[::2]]
    return "".join(parts)


def _without_backslash(match: re.Match[str]) -> str:
    return "\\" * (len(match[1]) // 2) + match[2]


def _decode(data: bytes) -> str:
    encoding = encoding_of(data[:4])
    declared = _declared(data[:_DECLARED_IN]) if encoding == "utf-8" else None
    try:
        text = data.decode(declared or encoding)
    except UnicodeDecodeError as error:
        says = f"{declared}, which it declares" if declared else "UTF-8, and declares no other"
        raise UnreadableFile(Fault.ENCODING, f"is not {says}: save it as UTF-8") from error
    if "\0" in text:
        raise UnreadableFile(Fault.ENCODING, "holds NUL bytes: it is no HTML in UTF-8")
    return text


def _declared(start: bytes) -> str | None:
    """The encoding that a page's own text declares. Raises UnreadableFile for an unknown one."""
    match = _META.search(start) or _XML.search(start)
    if match is None:
        return None
    label = match[1].decode("ascii").lower()
    if label.startswith("utf-16"):  # no ASCII text could say so: browsers take UTF-8
        return "utf-8"
    try:
        name = codecs.lookup(label).name
    except LookupError:
        name = ""
    if not _ENCODINGS.fullmatch(name):  # Python's codecs hold more than encodings
        raise UnreadableFile(Fault.ENCODING, "declares an unknown encoding: save it as UTF-8")
    return _SUPERSETS.get(name, name)


def _parse(page: str) -> lxml.html.HtmlElement:
    parser = lxml.html.HTMLParser(encoding="utf-8", remove_comments=True, remove_pis=True)
    try:
        tree = lxml.html.document_fromstring(page.encode("utf-8"), parser=parser)
    except etree.ParserError as error:
        raise UnreadableFile(Fault.EMPTY, "holds no text") from error
    # The parser goes no deeper, and would lose the text there without a word.
    if any("depth" in entry.message for entry in parser.error_log):
        raise UnreadableFile(Fault.FILE, "is nested too deeply to be read")
    return tree


def _body_text(tree: lxml.html.HtmlElement) -> str:
    """All text that is shown, a line for each piece."""
    hidden = " or ".join(f"ancestor::{name}" for name in _NO_TEXT)
    pieces = tree.xpath(f"//text()[not({hidden})]")
    lines = (" ".join(piece.split()) for piece in pieces)
    return "\n".join(line for line in lines if line)
