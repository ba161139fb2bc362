"""A file of a source as chunks of rows, whatever kind of file it is."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

from finetune_api.errors import UserError

from finetune_trainer.data.faults import Fault, InvalidRow
from finetune_trainer.data.rows import Chunk, ParsedRow, line_chunks, read_chunks
from finetune_trainer.ingest.converter import Converter
from finetune_trainer.ingest.failure import UnreadableFile
from finetune_trainer.ingest.kinds import (
    DOCUMENT_KINDS,
    Compression,
    FileKind,
    compression_of,
    kind_of,
    why_not,
)
from finetune_trainer.ingest.lines import parse_converted_line
from finetune_trainer.preparation.local_files import LocalFile


@dataclass(frozen=True)
class DocumentChunk:
    """A file that is one row, still to be read by whoever gets it."""

    path: Path
    name: str
    kind: FileKind
    compression: Compression | None

    first = last = 1
    size = 2**20

    def row(self, converter: Converter) -> ParsedRow:
        """The document, or what is wrong with the file."""
        with TemporaryDirectory(dir=self.path.parent) as folder:
            target = Path(folder, "document")
            try:
                converter.convert(self.path, self.name, self.kind, self.compression, target)
            except UnreadableFile as error:
                return InvalidRow(error.fault, error.message)
            return parse_converted_line(target.read_bytes())


AnyChunk = Chunk | DocumentChunk


@dataclass(frozen=True)
class SourceReader:
    """Opens files; what must be converted first lies in `folder` then."""

    converter: Converter
    folder: Path

    def chunks(self, file: LocalFile) -> Iterator[AnyChunk]:
        """The rows of `file`, in order; what cannot be read of it is one invalid row."""
        name = file.uri.rpartition("/")[2]
        kind, compression = kind_of(file.path, name), compression_of(file.path)
        if kind is None:
            fault = InvalidRow(Fault.FILE, why_not(file.path, name))
            return iter([Chunk(1, [fault])])
        if kind in DOCUMENT_KINDS:
            return iter([DocumentChunk(file.path, name, kind, compression)])
        if kind is FileKind.ROWS and compression is None:
            return _with_its_end(read_chunks(file.path, file.uri))
        return self._converted(file, name, kind, compression)

    def _converted(
        self, file: LocalFile, name: str, kind: FileKind, compression: Compression | None
    ) -> Iterator[AnyChunk]:
        target = self.folder / f"{file.sha256}.{kind}"
        if not target.exists():
            try:
                self.converter.convert(file.path, name, kind, compression, target)
            except UnreadableFile as error:
                return iter([Chunk(1, [InvalidRow(error.fault, error.message)])])
        if kind is FileKind.ROWS:
            return _with_its_end(read_chunks(target, file.uri))
        return _converted_chunks(target)


def _with_its_end(chunks: Iterator[Chunk]) -> Iterator[Chunk]:
    """The same, with an invalid row where a file breaks off."""
    last = 0
    try:
        for chunk in chunks:
            yield chunk
            last = chunk.last
    except UserError as broken:
        yield Chunk(last + 1, [InvalidRow(Fault.FILE, broken.message)])


def _converted_chunks(path: Path) -> Iterator[Chunk]:
    with path.open("rb") as file:
        yield from line_chunks(file, parse_converted_line)
