"""Which reader reads which kind; each is imported when its kind is first asked for."""

from importlib import import_module
from pathlib import Path

from finetune_trainer.data.faults import Fault
from finetune_trainer.ingest.failure import UnreadableFile
from finetune_trainer.ingest.kinds import (
    DOCUMENT_KINDS,
    Compression,
    FileKind,
    compression_of,
    kind_of,
    why_not,
)
from finetune_trainer.ingest.lines import RowWriter
from finetune_trainer.ingest.messages import Request
from finetune_trainer.ingest.text import Document, first_line, title_of

_LIBRARIES = {
    FileKind.PDF: ("finetune_trainer.ingest.pdf",),
    FileKind.DOCX: ("finetune_trainer.ingest.docx",),
    FileKind.HTML: ("finetune_trainer.ingest.html",),
    FileKind.PARQUET: ("finetune_trainer.ingest.parquet",),
}


def prepare(kind: FileKind, compression: Compression | None) -> None:
    """Import what `convert` needs for such a file."""
    for module in _LIBRARIES.get(kind, ()):
        import_module(module)
    if compression is Compression.ZSTD:
        import_module("pyarrow")


def convert(request: Request) -> int:
    """Write the rows of the request's file; returns their number. Raises UnreadableFile."""
    path = Path(request.path)
    if request.compression is not None:
        # Imported here: gzip and zlib are needed by few files.
        from finetune_trainer.ingest.inflate import inflate

        is_rows = request.kind is FileKind.ROWS
        inflated = Path(request.target if is_rows else request.inflated)
        lines = inflate(path, request.compression, inflated, request.limits)
        _check_inside(inflated, request)
        if is_rows:
            return lines
        path = inflated
    with Path(request.target).open("wb") as file:
        if request.kind in DOCUMENT_KINDS:
            writer = RowWriter(file, longest=None)
            _write_document(path, request, writer)
        else:
            writer = RowWriter(file)
            _write_records(path, request, writer)
    return writer.rows


def _check_inside(path: Path, request: Request) -> None:
    """Raise UnreadableFile if a compressed file holds another kind than its name says."""
    if compression_of(path):
        raise UnreadableFile(Fault.FILE, "is compressed more than once: compress it once")
    kind = kind_of(path, request.name)
    if kind is None:
        raise UnreadableFile(Fault.FILE, f"what it holds {why_not(path, request.name)}")
    if kind is not request.kind:
        raise UnreadableFile(Fault.FILE, f"holds {kind}, not {request.kind} as its name says")


def _write_records(path: Path, request: Request, writer: RowWriter) -> None:
    if request.kind is FileKind.PARQUET:
        from finetune_trainer.ingest.parquet import write_parquet

        write_parquet(path, writer)
    else:
        from finetune_trainer.ingest.tables import write_table

        write_table(path, "\t" if request.kind is FileKind.TSV else None, writer)


def _write_document(path: Path, request: Request, writer: RowWriter) -> None:
    document = _read_document(path, request)
    if not document.text:
        raise UnreadableFile(Fault.EMPTY, "holds no text")
    # A name of bytes that are no UTF-8 holds surrogates, which no reader of JSON takes.
    name = request.name.encode("utf-8", "replace").decode("utf-8")
    title = document.title or title_of(first_line(document.text), name)
    row = {"text": document.text, "title": title, "source": name}
    writer.write(row if document.pages is None else {**row, "pages": document.pages})


def _read_document(path: Path, request: Request) -> Document:
    if request.kind is FileKind.PDF:
        from finetune_trainer.ingest.pdf import read_pdf

        return read_pdf(path)
    if request.kind is FileKind.DOCX:
        from finetune_trainer.ingest.docx import read_docx

        return read_docx(path, request.limits)
    if request.kind is FileKind.HTML:
        from finetune_trainer.ingest.html import read_html

        return read_html(path)
    from finetune_trainer.ingest.plain import read_markdown, read_plain

    return read_markdown(path) if request.kind is FileKind.MARKDOWN else read_plain(path)
