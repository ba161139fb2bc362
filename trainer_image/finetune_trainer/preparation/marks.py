"""What the checks keep of units, on disk."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from finetune_trainer.array_files import ArrayFile
from finetune_trainer.arrays import Float32, Int64
from finetune_trainer.checks.spool import WordSpool
from finetune_trainer.preparation.row_checks import Marks

_TYPES = {
    "flags": "u1",
    "language": "S3",
    "subject": "<i8",
    "verdict": "<i8",
    "relevance": "<f4",
}


class MarkSpool:
    """The marks of units, in the order of the units; 24 bytes each, and prints beside them."""

    def __init__(self, folder: Path, *, compares: bool) -> None:
        folder.mkdir(parents=True)
        self._arrays = {name: ArrayFile(folder / name, dtype) for name, dtype in _TYPES.items()}
        self.words = WordSpool(folder / "words") if compares else None

    def append(self, marks: Sequence[Marks]) -> None:
        """Add units at the end."""
        for name, array in self._arrays.items():
            array.append(np.array([getattr(mark, name) for mark in marks], array.dtype))
        if self.words is not None:
            self.words.append([mark.print for mark in marks if mark.print is not None])

    @property
    def flags(self) -> "np.ndarray[tuple[int], np.dtype[np.uint8]]":
        """[U] `Flag`s of each unit."""
        return self._arrays["flags"][:]

    @property
    def languages(self) -> "np.ndarray[tuple[int], np.dtype[np.bytes_]]":
        """[U] code of each unit's language."""
        return self._arrays["language"][:]

    @property
    def judgements(self) -> tuple[Int64, Int64]:
        """([U] subjects, [U] verdicts)."""
        return self._arrays["subject"][:], self._arrays["verdict"][:]

    @property
    def relevance(self) -> Float32:
        """[U] 0 to 1; -1 where nothing was measured."""
        return self._arrays["relevance"][:]

    def close(self) -> None:
        """Give up the open files."""
        if self.words is not None:
            self.words.close()
