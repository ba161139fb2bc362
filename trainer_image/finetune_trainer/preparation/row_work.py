"""Rows of a file to tokens: what each process does, whatever came before it in the file."""

import itertools
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

from finetune_api.spec import FineTuneJobSpec
from finetune_api.units import Unit

from finetune_trainer.checks.relevance import Relevance
from finetune_trainer.data.expansion import expanded
from finetune_trainer.data.faults import InvalidRow
from finetune_trainer.data.grouping import group_of
from finetune_trainer.data.rendering import Example, Ready, Rendering, check_unit, needs_answer
from finetune_trainer.data.rows import NumberedRow, ParsedRow
from finetune_trainer.data.shapes import Shape
from finetune_trainer.data.table import TokenRow, UnitTable
from finetune_trainer.ingest.converter import Converter
from finetune_trainer.preparation.files import AnyChunk, DocumentChunk
from finetune_trainer.preparation.findings import Findings, LengthLimit
from finetune_trainer.preparation.row_checks import Marks, RowChecks
from finetune_trainer.prepared import PreparedSplit
from finetune_trainer.texts import Texts

BATCH = 512
"""Rows that are tokenised in one call."""
BATCH_CHARACTERS = 2**21
"""A batch of long documents ends earlier, with the one that reaches this length."""


@dataclass(frozen=True)
class RowTask:
    """Consecutive rows of a file."""

    source: int
    """Index of the source."""
    uri: str
    """Address of the file."""
    before: int
    """Rows of the source in the files before this one."""
    shape: Shape | None
    """None where the file cannot be read."""
    chunk: AnyChunk


@dataclass(frozen=True)
class Batch:
    """What became of a task's rows."""

    source: int
    """Index of the source."""
    split: PreparedSplit
    """Units of the good ones."""
    answers: Texts
    """The right answer of each unit, "" where it has none."""
    marks: list[Marks]
    """What the checks keep of each unit."""
    findings: Findings
    size: int
    """Bytes of the rows, roughly."""


@dataclass(frozen=True)
class RowWorkerMaker:
    """Makes the worker of a process."""

    tokenizer: Any
    """It travels to other processes as it is: to load it there would load torch."""
    spec: FineTuneJobSpec
    relevance: Relevance | None = None
    """The domain that rows are measured against."""

    @property
    def limit(self) -> LengthLimit:
        """How long rows may be."""
        return LengthLimit.of(self.spec)

    @property
    def checks(self) -> RowChecks:
        """What is looked for in rows."""
        return RowChecks(self.spec.data.checks, self.relevance)

    @property
    def needs_answer(self) -> bool:
        """Whether prompts without a right answer are invalid."""
        return needs_answer(self.spec)

    def __call__(self) -> "RowWorker":
        return RowWorker(Rendering(self.tokenizer, self.spec), self.limit, self.checks)


class RowWorker:
    """Turns tasks into batches."""

    def __init__(self, rendering: Rendering, limit: LengthLimit, checks: RowChecks) -> None:
        self._rendering = rendering
        self._limit = limit
        self._checks = checks
        self._group_by = rendering.group_by
        self._converter = Converter()
        self._tokeniser = ThreadPoolExecutor(1, "tokenise")

    def close(self) -> None:
        """End the process that reads documents, if there was one."""
        self._tokeniser.shutdown(cancel_futures=True)
        self._converter.close()

    def __call__(self, task: RowTask) -> Batch:
        """The units of a task's rows, and what is wrong with the others."""
        findings, table = Findings(self._limit), UnitTable()
        marks: list[Marks] = []
        read = (
            (number, self._read(task, number, row, findings))
            for number, row in self._rows(task.chunk)
        )
        for batch, encoded in self._encoded(_batches(read)):
            findings.rows += len(batch)
            self._collect(task, batch, encoded, findings, table, marks)
        return Batch(
            source=task.source,
            split=table.to_split(),
            answers=table.answers(),
            marks=marks,
            findings=findings,
            size=task.chunk.size,
        )

    def _rows(self, chunk: AnyChunk) -> Iterator[NumberedRow]:
        if isinstance(chunk, DocumentChunk):
            return iter([(1, chunk.row(self._converter))])
        return chunk.rows()

    def _read(
        self, task: RowTask, number: int, row: ParsedRow, findings: Findings
    ) -> "list[_Unit] | InvalidRow":
        if isinstance(row, InvalidRow):
            return row
        assert task.shape is not None
        try:
            example = task.shape.reader.read(row)
            group = group_of(row, self._group_by) if self._group_by else None
            example, flags = self._checks.look(example, task.uri, number, findings)
            units = [
                self._unit(each, flags, group) for each in expanded(example, self._rendering.method)
            ]
        except InvalidRow as fault:
            return fault
        if any(unit.ready.spells_special for unit in units):
            findings.add_special_text(task.uri, number)
        return units

    def _unit(self, example: Example, flags: int, group: int | None) -> "_Unit":
        ready = self._rendering.render(example)
        marks = self._checks.marks(example, ready.group, flags)
        return _Unit(ready, marks, ready.group if group is None else group)

    def _encoded(
        self, batches: "Iterator[list[_Read]]"
    ) -> "Iterator[tuple[list[_Read], Iterator[TokenRow]]]":
        """Each of `batches` with the tokens of its texts. The next is read meanwhile, as the
        tokeniser lets other threads go on."""
        ahead: tuple[list[_Read], Future[list[TokenRow]]] | None = None
        for batch in batches:
            units = (unit for _, units in batch if isinstance(units, list) for unit in units)
            texts = [text for unit in units for text in unit.ready.texts]
            behind, ahead = ahead, (batch, self._tokeniser.submit(self._rendering.encode, texts))
            if behind is not None:
                yield behind[0], iter(behind[1].result())
        if ahead is not None:
            yield ahead[0], iter(ahead[1].result())

    def _collect(
        self,
        task: RowTask,
        batch: "Sequence[_Read]",
        encoded: Iterator[TokenRow],
        findings: Findings,
        table: UnitTable,
        marks: list[Marks],
    ) -> None:
        for number, units in batch:
            if isinstance(units, InvalidRow):
                findings.add_invalid(task.uri, number, units)
                continue
            tokens = [list(itertools.islice(encoded, len(unit.ready.texts))) for unit in units]
            kept = self._kept(task.uri, number, tokens, findings)
            for unit, rows, keep in zip(units, tokens, kept, strict=True):
                if keep:
                    marks.append(unit.marks)
                    table.add(
                        rows,
                        file=task.source,
                        row=task.before + number,
                        group=unit.group,
                        values=unit.ready.values,
                        answer=unit.ready.answer,
                    )

    def _kept(
        self, uri: str, number: int, units: Sequence[list[TokenRow]], findings: Findings
    ) -> list[bool]:
        """Which units of a row go on; the findings say why others do not."""
        longest = [max(len(tokens) for tokens, _ in rows) for rows in units]
        findings.longest = max(findings.longest, *longest)
        try:
            if self._rendering.unit is not Unit.PROMPT:  # what is learnt is what the model writes
                for rows in units:
                    check_unit(rows)
        except InvalidRow as fault:
            findings.add_invalid(uri, number, fault)
            return [False] * len(units)
        # Documents are cut into blocks, however long they are.
        if self._rendering.unit is Unit.BLOCK or max(longest) <= self._limit.tokens:
            return [True] * len(units)
        findings.add_too_long(uri, number, max(longest))
        return [tokens <= self._limit.tokens for tokens in longest]


@dataclass(frozen=True)
class _Unit:
    """A unit before it has tokens."""

    ready: Ready
    marks: Marks
    group: int


_Read = tuple[int, list[_Unit] | InvalidRow]
"""(row, its units or what is wrong with it)."""


def _batches(rows: Iterator[_Read]) -> Iterator[list[_Read]]:
    """Rows in batches of `BATCH`, or fewer long ones."""
    batch: list[_Read] = []
    characters = 0
    for row in rows:
        batch.append(row)
        if isinstance(row[1], list):
            characters += sum(len(text.text) for unit in row[1] for text in unit.ready.texts)
        if len(batch) == BATCH or characters >= BATCH_CHARACTERS:
            yield batch
            batch, characters = [], 0
    if batch:
        yield batch
