"""Texts beside rows of tokens, as two arrays."""

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from finetune_trainer.arrays import offsets_of


@dataclass(frozen=True)
class Texts:
    """R texts; read without a copy, like the arrays of `PreparedSplit`."""

    content: npt.NDArray[np.uint8]
    """[B] UTF-8, text after text."""
    offsets: npt.NDArray[np.int64]
    """[R + 1] where each text begins in `content`; the last is B."""

    @classmethod
    def of(cls, texts: Iterable[str]) -> "Texts":
        """`texts`, in their order."""
        encoded = [text.encode() for text in texts]
        sizes = np.array([len(text) for text in encoded], np.int64)
        return cls(np.frombuffer(b"".join(encoded), np.uint8), offsets_of(sizes))

    def arrays(self) -> dict[str, npt.NDArray[np.generic]]:
        """The arrays by name."""
        return {"content": self.content, "offsets": self.offsets}

    def __len__(self) -> int:
        """R."""
        return len(self.offsets) - 1

    def __getitem__(self, row: int) -> str:
        """The text of row `row`, counted from 0; "" where it has none."""
        return self.content[self.offsets[row] : self.offsets[row + 1]].tobytes().decode()

    def select(self, keep: npt.NDArray[np.bool_]) -> "Texts":
        """The texts for which `keep` [R] is True, in their order."""
        lengths = np.diff(self.offsets)
        return Texts(self.content[np.repeat(keep, lengths)], offsets_of(lengths[keep]))
