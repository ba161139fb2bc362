"""Units on disk while they are collected, so that memory does not grow with the data."""

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Protocol

import numpy as np

from finetune_trainer.array_files import Array, ArrayFile
from finetune_trainer.arrays import Bool, Int64
from finetune_trainer.data.table import select_units
from finetune_trainer.prepared import PreparedSplit
from finetune_trainer.texts import Texts

_STEP_TOKENS = 2**20
"""Tokens that are read at once, and at least one unit."""
_TYPES = {
    "tokens": "<i4",
    "row_offsets": "<i8",
    "span_starts": "<i4",
    "span_ends": "<i4",
    "span_offsets": "<i8",
    "source_rows": "<i8",
    "source_files": "<i4",
    "group_ids": "<i8",
    "unit_offsets": "<i8",
    "row_values": "<f4",
}
_OFFSETS = {"row_offsets": "tokens", "span_offsets": "span_starts", "unit_offsets": "source_rows"}
"""Arrays of offsets, and what they count."""


class UnitSpool:
    """The arrays of a `PreparedSplit` and the right answers beside them, in a folder of its own."""

    def __init__(self, folder: Path) -> None:
        folder.mkdir(parents=True)
        self._arrays = {name: ArrayFile(folder / name, dtype) for name, dtype in _TYPES.items()}
        self._answers = AnswerSpool(folder)
        for name in _OFFSETS:
            self._arrays[name].append(np.zeros(1, np.int64))

    @property
    def units(self) -> int:
        """Units so far."""
        return len(self._arrays["unit_offsets"]) - 1

    @property
    def answers(self) -> "AnswerSpool":
        """The right answer of each unit; "" where it has none."""
        return self._answers

    def append(self, split: PreparedSplit, answers: Texts) -> None:
        """Add units at the end, with the right answer [U] of each."""
        bases = {name: len(self._arrays[counted]) for name, counted in _OFFSETS.items()}
        for name, values in split.arrays().items():
            array = self._arrays[name]
            array.append(values[1:] + bases[name] if name in bases else values)
        self._answers.append(answers)

    def extend(self, units: "UnitSpool", keep: Bool) -> None:
        """Add those of `units` for which `keep` [U] is True, some at a time."""
        answers = units.answers
        for first, end in _steps(units):
            part = select_units(_slice(units.arrays(), first, end), keep[first:end])
            told = _slice_texts(answers.arrays(), first, end)
            self.append(part, told.select(keep[first:end]))

    def arrays(self) -> dict[str, ArrayFile]:
        """The arrays by name."""
        return dict(self._arrays)

    def mapped(self) -> PreparedSplit:
        """All units, read from disk where they are looked at."""
        return PreparedSplit(**{name: array.mapped() for name, array in self._arrays.items()})

    def offsets(self) -> tuple[Int64, Int64]:
        """(where each unit's rows begin, where each row's tokens begin), read where looked at."""
        return self._arrays["unit_offsets"].mapped(), self._arrays["row_offsets"].mapped()

    def remove(self) -> None:
        """Take all from the disk."""
        for array in (*self._arrays.values(), *self._answers.arrays().values()):
            array.remove()


class AnswerSpool:
    """The arrays of `Texts` on disk."""

    def __init__(self, folder: Path) -> None:
        self._content = ArrayFile(folder / "answers", np.uint8)
        self._offsets = ArrayFile(folder / "answer_offsets", "<i8")
        self._offsets.append(np.zeros(1, np.int64))

    @property
    def holds_some(self) -> bool:
        """Whether any text is not empty."""
        return len(self._content) > 0

    def append(self, texts: Texts) -> None:
        """Add texts at the end."""
        self._offsets.append(texts.offsets[1:] + len(self._content))
        self._content.append(texts.content)

    def arrays(self) -> dict[str, ArrayFile]:
        """The arrays by name."""
        return {"content": self._content, "offsets": self._offsets}

    def mapped(self) -> Texts:
        """All texts, read from disk where they are looked at."""
        return Texts(self._content.mapped(), self._offsets.mapped())


class Sliceable(Protocol):
    """An array in memory or on disk."""

    def __getitem__(self, part: slice, /) -> Array:
        """Some elements that follow one another."""

    def __len__(self) -> int: ...


def _steps(units: UnitSpool) -> Iterator[tuple[int, int]]:
    """Ranges of units that hold about `_STEP_TOKENS` tokens each."""
    unit_offsets, row_offsets = units.offsets()
    first, count = 0, len(unit_offsets) - 1
    while first < count:
        begin = row_offsets[unit_offsets[first]]
        row = np.searchsorted(row_offsets, begin + _STEP_TOKENS)
        end = int(np.searchsorted(unit_offsets, row, side="right")) - 1
        end = min(count, max(first + 1, end))
        yield first, end
        first = end


def _slice(arrays: Mapping[str, Sliceable], first: int, end: int) -> PreparedSplit:
    """The units from `first` to before `end`; no other part of the arrays is read."""
    units = arrays["unit_offsets"][first : end + 1]
    rows = slice(int(units[0]), int(units[-1]))
    tokens, spans = (
        arrays[name][rows.start : rows.stop + 1] for name in ("row_offsets", "span_offsets")
    )
    token_range, span_range = (slice(int(each[0]), int(each[-1])) for each in (tokens, spans))
    return PreparedSplit(
        tokens=arrays["tokens"][token_range],
        row_offsets=tokens - tokens[0],
        span_starts=arrays["span_starts"][span_range],
        span_ends=arrays["span_ends"][span_range],
        span_offsets=spans - spans[0],
        source_rows=arrays["source_rows"][rows],
        source_files=arrays["source_files"][rows],
        group_ids=arrays["group_ids"][rows],
        unit_offsets=units - units[0],
        row_values=arrays["row_values"][rows],
    )


def _slice_texts(arrays: Mapping[str, Sliceable], first: int, end: int) -> Texts:
    offsets = arrays["offsets"][first : end + 1]
    return Texts(arrays["content"][int(offsets[0]) : int(offsets[-1])], offsets - offsets[0])
