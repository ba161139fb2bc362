"""All sources of a job, read once: rows in, units on disk and findings out."""

import itertools
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from finetune_api.errors import UserError
from finetune_api.reasons import Reason
from finetune_api.spec import RowSource

from finetune_trainer.data.faults import InvalidRow
from finetune_trainer.data.rendering import Example
from finetune_trainer.data.rows import Chunk, NumberedRow, read_chunks
from finetune_trainer.data.shapes import ROWS_LOOKED_AT, Shape, detect
from finetune_trainer.data.spool import UnitSpool
from finetune_trainer.preparation.findings import Findings
from finetune_trainer.preparation.row_work import Batch, RowTask, RowWorkerMaker
from finetune_trainer.preparation.sources import LocalFile, LocalSource, Say
from finetune_trainer.preparation.workers import crew
from finetune_trainer.prepared import SourceFile, SourceInfo

PROGRESS_SECONDS = 5.0


@dataclass
class _ReadFile:
    """A file and what is known of it."""

    local: LocalFile
    shape: Shape
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
                shape=file.shape.name,
                lines=file.lines,
            )
            for file in self.files
        ]
        uri, sha256 = self.local.source.uri, self.local.sha256
        return SourceInfo(uri=uri, sha256=sha256, files=files, rows=self.rows)


class CorpusReader:
    """Reads sources into spools; findings gather over all of them."""

    def __init__(self, maker: RowWorkerMaker, folder: Path, size: int, say: Say) -> None:
        """`folder` takes the spools of `size` bytes of data."""
        self.findings = Findings(maker.limit)
        self._read: list[_ReadSource] = []
        self._maker = maker
        self._folder = folder
        self._progress = _Progress(size, say)
        self._say = say

    def read(self, sources: Sequence[LocalSource]) -> UnitSpool:
        """The units of the good rows of `sources`, in order.

        Raises UserError for a file that cannot be read at all; bad rows go to the findings.
        """
        spool = UnitSpool(self._folder / f"units-{len(self._read)}")
        size = sum(file.size for local in sources for file in local.files)
        with crew(self._maker, size) as work:
            for batch in work(self._tasks(sources)):
                self._take(batch, spool)
        return spool

    @property
    def sources(self) -> list[SourceInfo]:
        """What was read so far."""
        return [read.info() for read in self._read]

    def examples(self, source: int, wanted: frozenset[int]) -> dict[int, Example]:
        """What the rows `wanted` of a source hold; rows of its files are counted through."""
        found: dict[int, Example] = {}
        before = 0
        for file in self._read[source].files:
            inside = {row - before for row in wanted if before < row <= before + file.lines}
            for number, row in _numbered(file.local, max(inside)) if inside else ():
                if number in inside and not isinstance(row, InvalidRow):
                    found[before + number] = file.shape.reader.read(row)
            before += file.lines
        return found

    def _take(self, batch: Batch, spool: UnitSpool) -> None:
        spool.append(batch.split, batch.answers)
        self.findings.merge(batch.findings)
        self._read[batch.source].rows += batch.findings.rows
        self._progress.after(batch)

    def _tasks(self, sources: Iterable[LocalSource]) -> Iterator[RowTask]:
        for local in sources:
            read = _ReadSource(local)
            index = len(self._read)
            self._read.append(read)
            for file in local.files:
                before = sum(each.lines for each in read.files)
                chunks, shape = self._begin(local.source, file)
                if not read.files or read.files[-1].shape.name != shape.name:
                    self._say(f"reading {file.uri} as {shape.name}")
                read.files.append(_ReadFile(file, shape))
                for chunk in chunks:
                    read.files[-1].lines = chunk.last
                    yield RowTask(index, file.uri, before, shape, chunk)

    def _begin(self, source: RowSource, file: LocalFile) -> tuple[Iterator[Chunk], Shape]:
        """(all chunks of a file, shape of its rows); raises UserError when no row can be read."""
        chunks = read_chunks(file.path, file.uri)
        first, objects = _first_rows(chunks)
        if not objects:
            raise _unreadable(file.uri, first)
        shape = detect(
            source, objects, self._maker.spec.method, needs_answer=self._maker.needs_answer
        )
        return itertools.chain(first, chunks), shape


def _first_rows(chunks: Iterator[Chunk]) -> tuple[list[Chunk], list[dict[str, Any]]]:
    """(the chunks that were read for it, those of the first rows that could be read)."""
    read, rows = list[Chunk](), list[NumberedRow]()
    for chunk in chunks:
        read.append(chunk)
        rows += itertools.islice(chunk.rows(), ROWS_LOOKED_AT - len(rows))
        if len(rows) == ROWS_LOOKED_AT:
            break
    return read, [row for _, row in rows if isinstance(row, dict)]


def _numbered(file: LocalFile, last: int) -> Iterator[NumberedRow]:
    """The rows of a file, up to row `last`."""
    for chunk in read_chunks(file.path, file.uri):
        yield from chunk.rows()
        if chunk.last >= last:
            return


def _unreadable(uri: str, chunks: Sequence[Chunk]) -> UserError:
    rows = list(itertools.islice((row for c in chunks for row in c.rows()), ROWS_LOOKED_AT))
    if not rows:
        return UserError(Reason.INVALID_DATA, "holds no rows", where=uri)
    number, first = rows[0]
    cause = first.message if isinstance(first, InvalidRow) else ""
    return UserError(
        Reason.INVALID_DATA,
        f"none of the first {len(rows)} rows can be read; the first: {cause}. Give JSON lines or "
        "one JSON array of rows",
        where=f"{uri}:{number}",
    )


class _Progress:
    """Says now and then how far the reading is."""

    def __init__(self, size: int, say: Say, clock: Callable[[], float] = time.monotonic) -> None:
        self._size = size
        self._say = say
        self._clock = clock
        self._started = self._spoken = clock()
        self._bytes = self._rows = self._tokens = 0

    def after(self, batch: Batch) -> None:
        self._bytes += batch.size
        self._rows += batch.findings.rows
        self._tokens += len(batch.split.tokens)
        now = self._clock()
        if now - self._spoken < PROGRESS_SECONDS:
            return
        self._spoken = now
        percent = min(99, 100 * self._bytes // max(1, self._size))
        rate = self._tokens / (now - self._started)
        self._say(f"{percent}%: {self._rows} rows, {self._tokens} tokens, {rate:.0f} tokens/s")
