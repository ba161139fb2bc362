"""Which kind of file this is: by its first and last bytes, then by the suffix of its name."""

from enum import StrEnum
from pathlib import Path, PurePosixPath

from finetune_trainer.ingest.magic import FOREIGN, SUFFIX_ADVICE, UNKNOWN_ZIP, ZIP_MEMBERS

_EDGE = 2**16
"""Bytes of each end of the file that are looked at."""
_SPACE = b" \t\r\n"


class FileKind(StrEnum):
    """Kinds of files that rows are read from."""

    ROWS = "rows"
    CSV = "csv"
    TSV = "tsv"
    PARQUET = "parquet"
    PDF = "pdf"
    DOCX = "docx"
    HTML = "html"
    MARKDOWN = "markdown"
    PLAIN = "plain"


class Compression(StrEnum):
    """How a file is compressed as a whole."""

    GZIP = "gzip"
    ZSTD = "zstd"


DOCUMENT_KINDS = frozenset(
    {FileKind.PDF, FileKind.DOCX, FileKind.HTML, FileKind.MARKDOWN, FileKind.PLAIN}
)
"""Kinds whose file is one row: a document."""

_SUFFIXES = {
    **dict.fromkeys(("json", "jsonl", "ndjson"), FileKind.ROWS),
    "csv": FileKind.CSV,
    "tsv": FileKind.TSV,
    "parquet": FileKind.PARQUET,
    "pdf": FileKind.PDF,
    "docx": FileKind.DOCX,
    **dict.fromkeys(("html", "htm", "xhtml"), FileKind.HTML),
    **dict.fromkeys(("md", "markdown"), FileKind.MARKDOWN),
    **dict.fromkeys(("txt", "text"), FileKind.PLAIN),
}
_COMPRESSIONS = {b"\x1f\x8b": Compression.GZIP, b"\x28\xb5\x2f\xfd": Compression.ZSTD}
_COMPRESSED_SUFFIXES = frozenset({"gz", "zst"})


def compression_of(path: Path) -> Compression | None:
    """How the file at `path` is compressed, by its first bytes. Raises OSError."""
    with path.open("rb") as file:
        start = file.read(4)
    return next((kind for magic, kind in _COMPRESSIONS.items() if start.startswith(magic)), None)


def kind_of(path: Path, name: str) -> FileKind | None:
    """The kind of the file at `path`, whose address ends in `name`; None if it gives no rows.

    A compressed file is judged by `name` alone; whether it holds that kind is seen when it is
    inflated. Text formats look alike, so that among them the suffix decides; without a known
    suffix, text that begins as JSON or HTML does is that. Raises OSError.
    """
    by_name = _SUFFIXES.get(_suffix(name))
    if compression_of(path):
        return by_name
    start, end = _edges(path)
    by_content = _by_content(start, end, by_name)
    if by_content or _foreign(start, end):
        return by_content
    if by_name or _suffix(name):
        return by_name
    return _by_first_character(start)


def why_not(path: Path, name: str) -> str:
    """For people: what the file that `kind_of` refuses is, and what to do. Raises OSError."""
    if compression_of(path):
        advice = SUFFIX_ADVICE.get(_suffix(name))
        return advice or (
            "is compressed, and its name does not say what it holds: name it as in data.jsonl.gz"
        )
    start, end = _edges(path)
    if not start:
        return "is empty"
    return (
        _foreign(start, end)
        or SUFFIX_ADVICE.get(_suffix(name))
        or "is of an unknown kind: rows are read from JSON lines, JSON, CSV, TSV, Parquet, PDF, "
        "DOCX, HTML, Markdown and .txt files"
    )


def _suffix(name: str) -> str:
    """The last suffix in lower case, without its dot and the suffix of a compression."""
    parts = PurePosixPath(name.strip().lower()).name.split(".")[1:]
    while parts and parts[-1] in _COMPRESSED_SUFFIXES:
        parts.pop()
    return parts[-1] if parts else ""


def _edges(path: Path) -> tuple[bytes, bytes]:
    with path.open("rb") as file:
        start = file.read(_EDGE)
        size = file.seek(0, 2)
        file.seek(max(0, size - _EDGE))
        return start, file.read(_EDGE)


def _by_content(start: bytes, end: bytes, by_name: FileKind | None) -> FileKind | None:
    if start.startswith(b"PAR1") and b"\0" in start + end:
        return FileKind.PARQUET
    # A PDF may have a few bytes before its header.
    if start.lstrip(_SPACE).startswith(b"%PDF-") or (
        by_name is FileKind.PDF and b"%PDF-" in start[:1024]
    ):
        return FileKind.PDF
    if start.startswith(b"PK\x03\x04"):
        edges = start + end
        if b"word/document" in edges:
            return FileKind.DOCX
        if by_name is FileKind.DOCX and not any(member in edges for member in ZIP_MEMBERS):
            return FileKind.DOCX
    return None


def _foreign(start: bytes, end: bytes) -> str | None:
    """What a file of a kind that gives no rows is, and what to do."""
    if start.startswith(b"PK\x03\x04"):
        edges = start + end
        return next((text for sign, text in ZIP_MEMBERS.items() if sign in edges), UNKNOWN_ZIP)
    return next(
        (
            text
            for offset, magic, sign, text in FOREIGN
            if start.startswith(magic, offset) and (not sign or sign in start + end)
        ),
        None,
    )


def _by_first_character(start: bytes) -> FileKind | None:
    begin = start.removeprefix(b"\xef\xbb\xbf").lstrip(_SPACE)[:16].lower()
    if begin.startswith((b"{", b"[")):
        return FileKind.ROWS
    if begin.startswith((b"<!doctype html", b"<html")):
        return FileKind.HTML
    return None
