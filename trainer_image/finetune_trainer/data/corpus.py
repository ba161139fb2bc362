"""All sources of a job, read once: rows in, tokens and findings out."""

import hashlib
import itertools
import json
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from finetune_api.errors import UserError
from finetune_api.reasons import Reason
from finetune_api.spec import DataSource

from finetune_trainer.data.chat import Chat, Rendered
from finetune_trainer.data.conversation import Conversation
from finetune_trainer.data.faults import Fault, InvalidRow
from finetune_trainer.data.findings import Findings
from finetune_trainer.data.rows import ParsedRow, read_rows
from finetune_trainer.data.shapes import ROWS_LOOKED_AT, Shape, detect
from finetune_trainer.data.table import RowTable
from finetune_trainer.prepared import SourceInfo

BATCH = 512
"""Rows that are tokenised in one call."""
PROGRESS_SECONDS = 5.0

Say = Callable[[str], None]


@dataclass(frozen=True)
class LocalSource:
    """A source whose bytes lie on this machine."""

    source: DataSource
    path: Path
    sha256: str
    """Digest of the bytes."""


@dataclass(frozen=True)
class _Ready:
    """A row that is rendered and waits for its tokens."""

    rendered: Rendered
    group: int


class CorpusReader:
    """Reads sources into tables; findings gather over all of them."""

    def __init__(self, chat: Chat, sequence_length: int, say: Say) -> None:
        self.findings = Findings()
        self.sources: list[SourceInfo] = []
        self.shapes: list[Shape] = []
        self._chat = chat
        self._limit = sequence_length
        self._say = say
        self._started = self._spoken = time.monotonic()
        self._tokens = 0

    def read(self, sources: Iterable[LocalSource]) -> RowTable:
        """A table of the good rows of `sources`, in order.

        Raises UserError for a source that cannot be read at all; bad rows go to the findings.
        """
        table = RowTable()
        for local in sources:
            self._read_source(local, table)
        return table

    def _read_source(self, local: LocalSource, table: RowTable) -> None:
        uri = local.source.uri
        index = len(self.sources)
        rows = read_rows(local.path, uri)
        shape, rows = _peek_shape(local.source, rows)
        self._say(f"reading {uri} as {shape.name}")
        count = 0
        for batch in _batches(rows, BATCH):
            count += len(batch)
            ready = [(number, self._render(uri, number, row, shape)) for number, row in batch]
            self._encode(uri, index, ready, table)
            self._report_progress()
        self.findings.rows += count
        self.shapes.append(shape)
        self.sources.append(SourceInfo(uri=uri, sha256=local.sha256, shape=shape.name, rows=count))

    def _render(self, uri: str, number: int, row: ParsedRow, shape: Shape) -> _Ready | InvalidRow:
        if isinstance(row, InvalidRow):
            return row
        try:
            conversation = shape.reader.conversation(row)
            rendered = self._chat.render(conversation)
        except InvalidRow as fault:
            return fault
        if self._chat.holds_special_text(conversation):
            self.findings.add_special_text(uri, number)
        return _Ready(rendered, group_id(conversation))

    def _encode(
        self,
        uri: str,
        index: int,
        batch: Sequence[tuple[int, _Ready | InvalidRow]],
        table: RowTable,
    ) -> None:
        texts = [ready.rendered for _, ready in batch if isinstance(ready, _Ready)]
        encoded = iter(self._chat.encode(texts))
        for number, ready in batch:
            if isinstance(ready, InvalidRow):
                self.findings.add_invalid(uri, number, ready)
                continue
            tokens, spans = next(encoded)
            self._tokens += len(tokens)
            self.findings.longest = max(self.findings.longest, len(tokens))
            if not spans:
                fault = InvalidRow(Fault.NO_LABELS, "no token of the row would be learnt")
                self.findings.add_invalid(uri, number, fault)
            elif len(tokens) > self._limit:
                self.findings.add_too_long(uri, number, len(tokens), self._limit)
            else:
                table.add(tokens, spans, file=index, row=number, group=ready.group)

    def _report_progress(self) -> None:
        now = time.monotonic()
        if now - self._spoken >= PROGRESS_SECONDS:
            self._spoken = now
            rate = self._tokens / (now - self._started)
            self._say(f"{self._tokens} tokens, {rate:.0f} tokens/s")


def group_id(conversation: Conversation) -> int:
    """64 bits of the SHA-256 of the prompt, signed; equal prompts give equal ids."""
    turns = [[message["role"], message["content"]] for message in conversation.opening()]
    digest = hashlib.sha256(json.dumps(turns).encode()).digest()
    return int.from_bytes(digest[:8], "little", signed=True)


def find_conversations(
    local: LocalSource, shape: Shape, wanted: frozenset[int]
) -> dict[int, Conversation]:
    """The conversations in the rows `wanted` of a source that was read before."""
    found: dict[int, Conversation] = {}
    for number, row in read_rows(local.path, local.source.uri):
        if number in wanted and not isinstance(row, InvalidRow):
            found[number] = shape.reader.conversation(row)
            if len(found) == len(wanted):
                break
    return found


Numbered = tuple[int, ParsedRow]


def _peek_shape(source: DataSource, rows: Iterator[Numbered]) -> tuple[Shape, Iterator[Numbered]]:
    """(shape, all rows); raises UserError when no row at the start can be read."""
    head = list(itertools.islice(rows, ROWS_LOOKED_AT))
    objects: list[dict[str, Any]] = [row for _, row in head if isinstance(row, dict)]
    if not head:
        raise UserError(Reason.INVALID_DATA, "holds no rows", where=source.uri)
    if not objects:
        number, first = head[0]
        cause = first.message if isinstance(first, InvalidRow) else ""
        raise UserError(
            Reason.INVALID_DATA,
            f"none of the first {len(head)} rows can be read; the first: {cause}. Give JSON "
            "lines or one JSON array of rows",
            where=f"{source.uri}:{number}",
        )
    return detect(source, objects), itertools.chain(head, rows)


def _batches(rows: Iterator[Numbered], size: int) -> Iterator[list[Numbered]]:
    while batch := list(itertools.islice(rows, size)):
        yield batch
