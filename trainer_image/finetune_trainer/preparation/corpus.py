"""All sources of a job, read once: rows in, units on disk and findings out."""

import itertools
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from finetune_api.errors import UserError
from finetune_api.reasons import Reason
from finetune_api.spec import RowSource

from finetune_trainer.data.faults import OF_FILES, Fault, InvalidRow
from finetune_trainer.data.rendering import Example
from finetune_trainer.data.rows import Chunk, NumberedRow
from finetune_trainer.data.shapes import ROWS_LOOKED_AT, Shape, detect, document_shape
from finetune_trainer.data.spool import UnitSpool
from finetune_trainer.ingest.converter import Converter
from finetune_trainer.preparation.cross_checks import ReadUnits
from finetune_trainer.preparation.files import AnyChunk, DocumentChunk, SourceReader
from finetune_trainer.preparation.findings import Findings
from finetune_trainer.preparation.local_files import LocalFile, LocalSource
from finetune_trainer.preparation.marks import MarkSpool
from finetune_trainer.preparation.row_work import Batch, RowTask, RowWorkerMaker
from finetune_trainer.preparation.sources import Say, ShareDone
from finetune_trainer.preparation.workers import crew
from finetune_trainer.prepared import SourceFile, SourceInfo

PROGRESS_SECONDS = 5.0
_FILE_WEIGHT = 2**18
_BYTES_LOOKED_AT = 16 * 2**20
"""Rows that are looked at stay in memory until the file is read: fewer of long ones are enough."""


@dataclass
class _ReadFile:
    """A file and what is known of it."""

    local: LocalFile
    shape: Shape | None
    lines: int = 0


@dataclass
class _ReadSource:
    """A source and what is known of it."""

    local: LocalSource
    files: list[_ReadFile] = field(default_factory=list)
    rows: int = 0

    def info(self) -> SourceInfo:
        """For people and for the trainer."""
        files = [
            SourceFile(
                uri=file.local.uri,
                sha256=file.local.sha256,
                shape=file.shape.name if file.shape else "",
                lines=file.lines,
            )
            for file in self.files
        ]
        uri, sha256 = self.local.source.uri, self.local.sha256
        return SourceInfo(uri=uri, sha256=sha256, files=files, rows=self.rows)


class CorpusReader:
    """Reads sources into spools; findings gather over all of them."""

    def __init__(
        self, maker: RowWorkerMaker, folder: Path, size: int, say: Say, share_done: ShareDone
    ) -> None:
        """`folder` takes the spools of `size` bytes of data; `share_done` is told how many percent
        of them are read."""
        self.findings = Findings(maker.limit)
        self._read: list[_ReadSource] = []
        self._maker = maker
        self._folder = folder
        self._progress = _Progress(size, say, share_done)
        self._say = say

    @contextmanager
    def read(self, sources: Sequence[LocalSource]) -> Iterator[ReadUnits]:
        """The units of the good rows of `sources`, in order, until the context ends.

        Raises UserError for a file that cannot be read at all; bad rows go to the findings.
        """
        folder = self._folder / str(len(self._read))
        units = UnitSpool(folder / "units")
        with closing(MarkSpool(folder / "marks", compares=self._maker.checks.compares)) as marks:
            self._read_into(sources, units, marks)
            yield ReadUnits(units, marks, self.sources)
        units.remove()

    def _read_into(
        self, sources: Sequence[LocalSource], units: UnitSpool, marks: MarkSpool
    ) -> None:
        with self._reader() as reader, crew(self._maker, _weight(sources)) as work:
            for batch in work(self._tasks(sources, reader)):
                units.append(batch.split, batch.answers)
                marks.append(batch.marks)
                self.findings.merge(batch.findings)
                self._read[batch.source].rows += batch.findings.rows
                self._progress.after(batch)

    @contextmanager
    def _reader(self) -> Iterator[SourceReader]:
        converted = self._folder / "converted"
        converted.mkdir(parents=True, exist_ok=True)
        with Converter() as converter:
            yield SourceReader(converter, converted)

    @property
    def sources(self) -> list[SourceInfo]:
        """What was read so far."""
        return [read.info() for read in self._read]

    def examples(self, source: int, wanted: frozenset[int]) -> dict[int, Example]:
        """What the rows `wanted` of a source hold, redacted where the job asks for it; rows of its
        files are counted through."""
        found: dict[int, Example] = {}
        checks = self._maker.checks
        before = 0
        with self._reader() as reader:
            for file in self._read[source].files:
                inside = {row - before for row in wanted if before < row <= before + file.lines}
                for number, row in _numbered(reader, file.local, max(inside)) if inside else ():
                    if number in inside and file.shape and not isinstance(row, InvalidRow):
                        found[before + number] = checks.as_prepared(file.shape.reader.read(row))
                before += file.lines
        return found

    def _tasks(self, sources: Iterable[LocalSource], reader: SourceReader) -> Iterator[RowTask]:
        for local in sources:
            read = _ReadSource(local)
            index = len(self._read)
            self._read.append(read)
            for file in local.files:
                before = sum(each.lines for each in read.files)
                chunks, shape = self._begin(local, file, reader)
                if shape and shape.name not in {
                    each.shape.name for each in read.files if each.shape
                }:
                    self._say(f"reading {file.uri} as {shape.name}")
                read.files.append(_ReadFile(file, shape))
                for chunk in chunks:
                    read.files[-1].lines = chunk.last
                    yield RowTask(index, file.uri, before, shape, chunk)
                before += read.files[-1].lines

    def _begin(
        self, local: LocalSource, file: LocalFile, reader: SourceReader
    ) -> tuple[Iterator[AnyChunk], Shape | None]:
        """(all chunks of a file, shape of its rows). A file of a source of several that cannot be
        read is one invalid row without a shape. Raises UserError where it is the only one."""
        chunks = reader.chunks(file)
        first, rows = _first_rows(chunks)
        try:
            shape = self._shape(local.source, file, first, rows)
        except UserError as problem:
            if len(local.files) == 1 or problem.reason is not Reason.INVALID_DATA:
                raise
            # Another file may be one that was not meant: each is named, and the others are read.
            return iter([Chunk(1, [_as_row(problem, rows)])]), None
        return itertools.chain(first, chunks), shape

    def _shape(
        self,
        source: RowSource,
        file: LocalFile,
        first: Sequence[AnyChunk],
        rows: Sequence[NumberedRow],
    ) -> Shape:
        method = self._maker.spec.method
        # What is wrong with the rows is said of this file, not of the folder.
        source = source.model_copy(update={"uri": file.uri})
        if first and isinstance(first[0], DocumentChunk):
            return document_shape(source, file.uri, method)
        objects = [row for _, row in rows if isinstance(row, dict)]
        if not objects:
            raise _unreadable(file.uri, rows)
        return detect(source, objects, method, needs_answer=self._maker.needs_answer)


def _as_row(problem: UserError, rows: Sequence[NumberedRow]) -> InvalidRow:
    """A file that cannot be read, counted as one row."""
    first = rows[0][1] if rows else None
    if isinstance(first, InvalidRow) and first.fault in OF_FILES:
        return first
    return InvalidRow(Fault.FILE, problem.message)


def _weight(sources: Sequence[LocalSource]) -> int:
    """Bytes of the files; a file weighs a little by itself, as it may be a document."""
    return sum(file.size + _FILE_WEIGHT for local in sources for file in local.files)


def _first_rows(chunks: Iterator[AnyChunk]) -> tuple[list[AnyChunk], list[NumberedRow]]:
    """(the chunks that were read for it, the first rows)."""
    read, rows, size = list[AnyChunk](), list[NumberedRow](), 0
    for chunk in chunks:
        read.append(chunk)
        if isinstance(chunk, DocumentChunk):
            break
        rows += itertools.islice(chunk.rows(), ROWS_LOOKED_AT - len(rows))
        size += chunk.size
        if len(rows) == ROWS_LOOKED_AT or (rows and size >= _BYTES_LOOKED_AT):
            break
    return read, rows


def _numbered(reader: SourceReader, file: LocalFile, last: int) -> Iterator[NumberedRow]:
    """The rows of a file, up to row `last`."""
    for chunk in reader.chunks(file):
        if isinstance(chunk, DocumentChunk):
            yield 1, chunk.row(reader.converter)
            return
        yield from chunk.rows()
        if chunk.last >= last:
            return


def _unreadable(uri: str, rows: Sequence[NumberedRow]) -> UserError:
    if not rows:
        return UserError(Reason.INVALID_DATA, "holds no rows", where=uri)
    number, first = rows[0]
    cause = first.message if isinstance(first, InvalidRow) else ""
    if isinstance(first, InvalidRow) and first.fault in OF_FILES:
        return UserError(Reason.INVALID_DATA, cause, where=uri)
    return UserError(
        Reason.INVALID_DATA,
        f"none of the first {len(rows)} rows can be read; the first: {cause}. Give JSON lines or "
        "one JSON array of rows",
        where=f"{uri}:{number}",
    )


class _Progress:
    """Says now and then how far the reading is."""

    def __init__(
        self,
        size: int,
        say: Say,
        share_done: ShareDone,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._size = size
        self._share_done = share_done
        self._say = say
        self._clock = clock
        self._started = self._spoken = clock()
        self._bytes = self._rows = self._tokens = 0

    def after(self, batch: Batch) -> None:
        self._bytes += batch.size
        self._rows += batch.findings.rows
        self._tokens += len(batch.split.tokens)
        percent = min(99, 100 * self._bytes // max(1, self._size))
        self._share_done(percent)
        now = self._clock()
        if now - self._spoken < PROGRESS_SECONDS:
            return
        self._spoken = now
        rate = self._tokens / (now - self._started)
        self._say(f"{percent}%: {self._rows} rows, {self._tokens} tokens, {rate:.0f} tokens/s")
