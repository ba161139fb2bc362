"""Prints of many units on disk."""

import os
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from io import BufferedWriter
from pathlib import Path
from types import TracebackType
from typing import Self

import numpy as np
import numpy.typing as npt

from finetune_trainer.checks.prints import BANDS, SKETCH, Print
from finetune_trainer.checks.shingles import UInt64, part_shingles
from finetune_trainer.checks.words import Words

Int64 = npt.NDArray[np.int64]

_UNIT = np.dtype(
    [
        ("exact", np.int64),
        ("words_end", np.int64),
        ("letters_end", np.int64),
        ("prompt_words", np.int32),
        ("prompt_letters", np.int32),
        ("sketch", np.uint8, (2, SKETCH)),
    ]
)
"""What is kept of a unit beside its words, letters and bands: 64 bytes."""
_BLOCK_WORDS = 2**20
_PIECE = 2**16
_MOST_CACHED = 300_000


@dataclass(frozen=True)
class Block:
    """Units first, first + 1, ... of a spool: N of them with W words together."""

    first: int
    words: Words
    """[W] The words of each unit after those of the unit before: prompt, then answer."""
    starts: Int64
    """[N + 1] Where each unit's words begin; the last is W."""
    prompt_words: Int64
    """[N]"""
    exact: Int64
    """[N]"""


@dataclass(frozen=True)
class _Place:
    words: int
    words_end: int
    letters: int
    letters_end: int
    prompt_words: int
    prompt_letters: int


class WordSpool:
    """Prints appended to files in a folder, and read again; nothing of them stays in memory.

    A unit is known by its place in the order of appending. Takes 4 bytes a word, 4 a letter of
    a short part, and 264 a unit. Close it, or use it as a context.
    """

    def __init__(self, folder: Path) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self.folder = folder
        self._paths = [folder / name for name in ("units", "words", "letters")]
        self._band_paths = [folder / f"band-{band:02d}" for band in range(BANDS)]
        self._files: list[BufferedWriter] = [
            path.open("wb") for path in (*self._paths, *self._band_paths)
        ]
        self._units, self._words, self._letters = 0, 0, 0
        self._reading: list[int] = []

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def __len__(self) -> int:
        return self._units

    def append(self, prints: Sequence[Print]) -> None:
        """Add units after those that are there."""
        if not prints:
            return
        words = [len(one.words) for one in prints]
        letters = [len(one.letters) for one in prints]
        rows = np.empty(len(prints), _UNIT)
        rows["exact"] = [one.exact for one in prints]
        rows["words_end"] = self._words + np.cumsum(words)
        rows["letters_end"] = self._letters + np.cumsum(letters)
        rows["prompt_words"] = [one.prompt_words for one in prints]
        rows["prompt_letters"] = [one.prompt_letters for one in prints]
        rows["sketch"] = [one.sketch for one in prints]
        self._files[0].write(rows.tobytes())
        self._files[1].write(np.concatenate([one.words for one in prints]).tobytes())
        self._files[2].write(np.concatenate([one.letters for one in prints]).tobytes())
        bands = np.ascontiguousarray(np.stack([one.bands for one in prints]).T)
        for file, band in zip(self._files[3:], bands, strict=True):
            file.write(band.tobytes())
        self._units += len(prints)
        self._words += sum(words)
        self._letters += sum(letters)

    def read(self, unit: int) -> tuple[Words, Words]:
        """[P], [A] The words of a unit's prompt and answer."""
        place = self._place(unit)
        words = self._span(1, place.words, place.words_end)
        return words[: place.prompt_words], words[place.prompt_words :]

    def shingles(self, unit: int) -> tuple[frozenset[int], frozenset[int]]:
        """The shingles of a unit's prompt and of its answer, as similarity is measured by."""
        place = self._place(unit)
        words = self._span(1, place.words, place.words_end)
        letters = self._span(2, place.letters, place.letters_end)
        p, q = place.prompt_words, place.prompt_letters
        return (
            frozenset(part_shingles(words[:p], letters[:q]).tolist()),
            frozenset(part_shingles(words[p:], letters[q:]).tolist()),
        )

    def exact(self) -> Int64:
        """[U] The hash of each unit's normalised parts."""
        found = np.empty(self._units, np.int64)
        for first, rows in self._pieces():
            found[first : first + len(rows)] = rows["exact"]
        return found

    def sketches(self) -> npt.NDArray[np.uint8]:
        """[U, 2, 16] Each unit's sketch of its prompt and of its answer."""
        found = np.empty((self._units, 2, SKETCH), np.uint8)
        for first, rows in self._pieces():
            found[first : first + len(rows)] = rows["sketch"]
        return found

    def band(self, number: int) -> UInt64:
        """[U] One band of each unit, 0 <= number < 25."""
        self._flush()
        return np.fromfile(self._band_paths[number], np.uint64)

    def blocks(self) -> Iterator[Block]:
        """All units in order, about a million words at a time, a unit in one piece."""
        self._flush()
        step = max(1, min(2**16, self._units * _BLOCK_WORDS // max(self._words, 1)))
        begin = 0
        for first in range(0, self._units, step):
            rows = self._rows(first, min(first + step, self._units))
            ends = rows["words_end"]
            yield Block(
                first=first,
                words=self._span(1, begin, int(ends[-1])),
                starts=np.concatenate(([0], ends - begin)).astype(np.int64),
                prompt_words=rows["prompt_words"].astype(np.int64),
                exact=rows["exact"].astype(np.int64),
            )
            begin = int(ends[-1])

    def subset(self, units: Int64, folder: Path) -> "WordSpool":
        """A spool in `folder` with some units, in the order given; without bands and sketches,
        which overlap does not need."""
        made = WordSpool(folder)
        try:
            for unit in units.tolist():
                made.append([self._print(unit)])
        except BaseException:
            made.close()
            raise
        return made

    def _print(self, unit: int) -> Print:
        place = self._place(unit)
        return Print(
            bands=np.zeros(BANDS, np.uint64),
            words=self._span(1, place.words, place.words_end),
            prompt_words=place.prompt_words,
            letters=self._span(2, place.letters, place.letters_end),
            prompt_letters=place.prompt_letters,
            sketch=np.zeros((2, SKETCH), np.uint8),
            exact=int(self._rows(unit, unit + 1)["exact"][0]),
        )

    def close(self) -> None:
        """Give up the files; they stay in the folder."""
        for file in self._files:
            file.close()
        for reading in self._reading:
            os.close(reading)
        self._reading = []

    def _flush(self) -> None:
        for file in self._files:
            file.flush()

    def _pieces(self) -> Iterator[tuple[int, npt.NDArray[np.void]]]:
        self._flush()
        for first in range(0, self._units, _PIECE):
            yield first, self._rows(first, min(first + _PIECE, self._units))

    def _rows(self, first: int, end: int) -> npt.NDArray[np.void]:
        return np.fromfile(self._paths[0], _UNIT, end - first, offset=first * _UNIT.itemsize)

    def _place(self, unit: int) -> _Place:
        if not 0 <= unit < self._units:
            raise IndexError("no such unit")
        before = max(unit - 1, 0)
        rows = np.frombuffer(
            self._bytes(0, before * _UNIT.itemsize, (unit + 1) * _UNIT.itemsize), _UNIT
        )
        _, words_end, letters_end, prompt_words, prompt_letters, _ = rows[-1].tolist()
        _, words, letters, *_ = rows[0].tolist() if unit else (0, 0, 0)
        return _Place(words, words_end, letters, letters_end, prompt_words, prompt_letters)

    def _span(self, file: int, start: int, end: int) -> Words:
        return np.frombuffer(self._bytes(file, 4 * start, 4 * end), np.uint32)

    def _bytes(self, file: int, start: int, end: int) -> bytes:
        self._files[file].flush()
        if not self._reading:
            self._reading = [os.open(path, os.O_RDONLY) for path in self._paths]
        return os.pread(self._reading[file], end - start, start)


Shingles = tuple[frozenset[int], frozenset[int]]


def cached_shingles(spool: WordSpool) -> Callable[[int], Shingles]:
    """`spool.shingles` that remembers the last units asked for, 300,000 shingles at most."""
    known: dict[int, Shingles] = {}
    held = 0

    def shingles(unit: int) -> Shingles:
        nonlocal held
        if unit not in known:
            found = spool.shingles(unit)
            held += len(found[0]) + len(found[1])
            if held > _MOST_CACHED:
                known.clear()
                held = len(found[0]) + len(found[1])
            known[unit] = found
        return known[unit]

    return shingles
