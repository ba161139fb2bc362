"""Rows of a file to tokens: what each process does, whatever came before it in the file."""

import itertools
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from finetune_api.spec import FineTuneJobSpec
from finetune_api.units import Unit

from finetune_trainer.data.expansion import expanded
from finetune_trainer.data.faults import InvalidRow
from finetune_trainer.data.rendering import Ready, Rendering, check_unit, needs_answer
from finetune_trainer.data.rows import Chunk, ParsedRow
from finetune_trainer.data.shapes import Shape
from finetune_trainer.data.table import TokenRow, UnitTable
from finetune_trainer.preparation.findings import Findings, LengthLimit
from finetune_trainer.prepared import PreparedSplit
from finetune_trainer.texts import Texts

BATCH = 512
"""Rows that are tokenised in one call."""
BATCH_CHARACTERS = 2**21
"""A batch of long documents ends earlier, with the one that reaches this length."""

_Read = tuple[int, list[Ready] | InvalidRow]
"""(row, its units or what is wrong with it)."""


@dataclass(frozen=True)
class RowTask:
    """Consecutive rows of a file."""

    source: int
    """Index of the source."""
    uri: str
    """Address of the file."""
    before: int
    """Rows of the source in the files before this one."""
    shape: Shape
    chunk: Chunk


@dataclass(frozen=True)
class Batch:
    """What became of a task's rows."""

    source: int
    """Index of the source."""
    split: PreparedSplit
    """Units of the good ones."""
    answers: Texts
    """The right answer of each unit, "" where it has none."""
    findings: Findings
    size: int
    """Bytes of the rows, roughly."""


@dataclass(frozen=True)
class RowWorkerMaker:
    """Makes the worker of a process."""

    tokenizer: Any
    """It travels to other processes as it is: to load it there would load torch."""
    spec: FineTuneJobSpec

    @property
    def limit(self) -> LengthLimit:
        """How long rows may be."""
        return LengthLimit.of(self.spec)

    @property
    def needs_answer(self) -> bool:
        """Whether prompts without a right answer are invalid."""
        return needs_answer(self.spec)

    def __call__(self) -> "RowWorker":
        return RowWorker(Rendering(self.tokenizer, self.spec), self.limit)


class RowWorker:
    """Turns tasks into batches."""

    def __init__(self, rendering: Rendering, limit: LengthLimit) -> None:
        self._rendering = rendering
        self._limit = limit

    def __call__(self, task: RowTask) -> Batch:
        """The units of a task's rows, and what is wrong with the others."""
        findings, table = Findings(self._limit), UnitTable()
        ready = (
            (number, self._render(task, number, row, findings)) for number, row in task.chunk.rows()
        )
        for batch in _batches(ready):
            findings.rows += len(batch)
            self._encode(task, batch, findings, table)
        return Batch(task.source, table.to_split(), table.answers(), findings, task.chunk.size)

    def _render(
        self, task: RowTask, number: int, row: ParsedRow, findings: Findings
    ) -> list[Ready] | InvalidRow:
        if isinstance(row, InvalidRow):
            return row
        try:
            examples = expanded(task.shape.reader.read(row), self._rendering.method)
            units = [self._rendering.render(example) for example in examples]
        except InvalidRow as fault:
            return fault
        if any(unit.spells_special for unit in units):
            findings.add_special_text(task.uri, number)
        return units

    def _encode(
        self, task: RowTask, batch: Sequence[_Read], findings: Findings, table: UnitTable
    ) -> None:
        read = (unit for _, units in batch if isinstance(units, list) for unit in units)
        encoded = iter(self._rendering.encode([text for unit in read for text in unit.texts]))
        for number, units in batch:
            if isinstance(units, InvalidRow):
                findings.add_invalid(task.uri, number, units)
                continue
            tokens = [list(itertools.islice(encoded, len(unit.texts))) for unit in units]
            kept = self._kept(task.uri, number, tokens, findings)
            for unit, rows in zip(units, tokens, strict=True):
                if rows in kept:
                    table.add(
                        rows,
                        file=task.source,
                        row=task.before + number,
                        group=unit.group,
                        values=unit.values,
                        answer=unit.answer,
                    )

    def _kept(
        self, uri: str, number: int, units: Sequence[list[TokenRow]], findings: Findings
    ) -> list[list[TokenRow]]:
        """The units of a row that go on; the findings say why others do not."""
        longest = [max(len(tokens) for tokens, _ in rows) for rows in units]
        findings.longest = max(findings.longest, *longest)
        try:
            if self._rendering.unit is not Unit.PROMPT:  # what is learnt is what the model writes
                for rows in units:
                    check_unit(rows)
        except InvalidRow as fault:
            findings.add_invalid(uri, number, fault)
            return []
        # Documents are cut into blocks, however long they are.
        if self._rendering.unit is Unit.BLOCK or max(longest) <= self._limit.tokens:
            return list(units)
        findings.add_too_long(uri, number, max(longest))
        fits = zip(units, longest, strict=True)
        return [rows for rows, tokens in fits if tokens <= self._limit.tokens]


def _batches(rows: Iterator[_Read]) -> Iterator[list[_Read]]:
    """Rows in batches of `BATCH`, or fewer long ones."""
    batch: list[_Read] = []
    characters = 0
    for row in rows:
        batch.append(row)
        if isinstance(row[1], list):
            characters += sum(len(text.text) for unit in row[1] for text in unit.texts)
        if len(batch) == BATCH or characters >= BATCH_CHARACTERS:
            yield batch
            batch, characters = [], 0
    if batch:
        yield batch
