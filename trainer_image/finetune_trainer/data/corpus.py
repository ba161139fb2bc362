"""All sources of a job, read once: rows in, tokens and findings out."""

import itertools
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from finetune_api.errors import UserError
from finetune_api.reasons import Reason
from finetune_api.spec import RowSource
from finetune_api.units import Unit

from finetune_trainer.data.faults import InvalidRow
from finetune_trainer.data.findings import Findings, LengthLimit
from finetune_trainer.data.rendering import Example, Ready, Rendering, check_unit
from finetune_trainer.data.rows import ParsedRow, read_rows
from finetune_trainer.data.shapes import ROWS_LOOKED_AT, Shape, detect
from finetune_trainer.data.table import TokenRow, UnitTable
from finetune_trainer.prepared import SourceInfo

BATCH = 512
"""Rows that are tokenised in one call."""
BATCH_CHARACTERS = 2**21
"""A batch of long documents ends earlier, with the one that reaches this length."""
PROGRESS_SECONDS = 5.0

Say = Callable[[str], None]
_Read = tuple[int, Ready | InvalidRow]
"""(row, what became of it)."""


@dataclass(frozen=True)
class LocalSource:
    """A source whose bytes lie on this machine."""

    source: RowSource
    path: Path
    sha256: str
    """Digest of the bytes."""


class CorpusReader:
    """Reads sources into tables; findings gather over all of them."""

    def __init__(self, rendering: Rendering, limit: LengthLimit, say: Say) -> None:
        self.findings = Findings(limit)
        self.sources: list[SourceInfo] = []
        self.shapes: list[Shape] = []
        self._rendering = rendering
        self._say = say
        self._started = self._spoken = time.monotonic()
        self._tokens = 0

    def read(self, sources: Iterable[LocalSource]) -> UnitTable:
        """A table of the good rows, pairs or documents of `sources`, in order.

        Raises UserError for a source that cannot be read at all; bad rows go to the findings.
        """
        table = UnitTable()
        for local in sources:
            self._read_source(local, table)
        return table

    def _read_source(self, local: LocalSource, table: UnitTable) -> None:
        uri = local.source.uri
        index = len(self.sources)
        rows = read_rows(local.path, uri)
        shape, rows = self._peek_shape(local.source, rows)
        self._say(f"reading {uri} as {shape.name}")
        count = 0
        ready = ((number, self._render(uri, number, row, shape)) for number, row in rows)
        for batch in _batches(ready):
            count += len(batch)
            self._encode(uri, index, batch, table)
            self._report_progress()
        self.findings.rows += count
        self.shapes.append(shape)
        self.sources.append(SourceInfo(uri=uri, sha256=local.sha256, shape=shape.name, rows=count))

    def _render(self, uri: str, number: int, row: ParsedRow, shape: Shape) -> Ready | InvalidRow:
        if isinstance(row, InvalidRow):
            return row
        try:
            ready = self._rendering.render(shape.reader.read(row))
        except InvalidRow as fault:
            return fault
        if ready.spells_special:
            self.findings.add_special_text(uri, number)
        return ready

    def _encode(self, uri: str, index: int, batch: Sequence[_Read], table: UnitTable) -> None:
        texts = [text for _, read in batch if isinstance(read, Ready) for text in read.texts]
        encoded = iter(self._rendering.encode(texts))
        for number, read in batch:
            if isinstance(read, InvalidRow):
                self.findings.add_invalid(uri, number, read)
                continue
            rows = list(itertools.islice(encoded, len(read.texts)))
            if self._is_kept(uri, number, rows):
                table.add(
                    rows,
                    file=index,
                    row=number,
                    group=read.group,
                    values=read.values,
                    answer=read.answer,
                )

    def _is_kept(self, uri: str, number: int, rows: Sequence[TokenRow]) -> bool:
        """Whether a unit goes on; otherwise the findings say why not."""
        longest = max(len(tokens) for tokens, _ in rows)
        self._tokens += sum(len(tokens) for tokens, _ in rows)
        self.findings.longest = max(self.findings.longest, longest)
        unit = self._rendering.unit
        try:
            if unit is not Unit.PROMPT:  # what is learnt there is what the model writes
                check_unit(rows)
        except InvalidRow as fault:
            self.findings.add_invalid(uri, number, fault)
            return False
        # Documents are cut into blocks, however long they are.
        if unit is not Unit.BLOCK and longest > self.findings.limit.tokens:
            self.findings.add_too_long(uri, number, longest)
            return False
        return True

    def _peek_shape(
        self, source: RowSource, rows: Iterator["_Numbered"]
    ) -> tuple[Shape, Iterator["_Numbered"]]:
        """(shape, all rows); raises UserError when no row at the start can be read."""
        head = list(itertools.islice(rows, ROWS_LOOKED_AT))
        objects: list[dict[str, Any]] = [row for _, row in head if isinstance(row, dict)]
        if not head:
            raise UserError(Reason.INVALID_DATA, "holds no rows", where=source.uri)
        if not objects:
            raise _unreadable(source, head)
        shape = detect(
            source,
            objects,
            self._rendering.method,
            needs_answer=self._rendering.needs_answer,
        )
        return shape, itertools.chain(head, rows)

    def _report_progress(self) -> None:
        now = time.monotonic()
        if now - self._spoken >= PROGRESS_SECONDS:
            self._spoken = now
            rate = self._tokens / (now - self._started)
            self._say(f"{self._tokens} tokens, {rate:.0f} tokens/s")


_Numbered = tuple[int, ParsedRow]


def find_examples(local: LocalSource, shape: Shape, wanted: frozenset[int]) -> dict[int, Example]:
    """What the rows `wanted` of a source that was read before hold."""
    found: dict[int, Example] = {}
    for number, row in read_rows(local.path, local.source.uri):
        if number in wanted and not isinstance(row, InvalidRow):
            found[number] = shape.reader.read(row)
            if len(found) == len(wanted):
                break
    return found


def _unreadable(source: RowSource, head: Sequence[_Numbered]) -> UserError:
    number, first = head[0]
    cause = first.message if isinstance(first, InvalidRow) else ""
    return UserError(
        Reason.INVALID_DATA,
        f"none of the first {len(head)} rows can be read; the first: {cause}. Give JSON lines or "
        "one JSON array of rows",
        where=f"{source.uri}:{number}",
    )


def _batches(rows: Iterator[_Read]) -> Iterator[list[_Read]]:
    """Rows in batches of `BATCH`, or fewer long ones."""
    batch: list[_Read] = []
    characters = 0
    for row in rows:
        batch.append(row)
        if isinstance(row[1], Ready):
            characters += sum(len(rendered.text) for rendered in row[1].texts)
        if len(batch) == BATCH or characters >= BATCH_CHARACTERS:
            yield batch
            batch, characters = [], 0
    if batch:
        yield batch
