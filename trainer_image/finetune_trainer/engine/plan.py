"""Which rows each optimizer step reads: a pure function of the seed, so a resume needs no state."""

import math
from dataclasses import dataclass
from decimal import Decimal
from functools import lru_cache

import numpy as np
import numpy.typing as npt

Rows = npt.NDArray[np.int64]


@dataclass(frozen=True)
class Plan:
    """The steps of a whole run.

    Every epoch is a seeded permutation of all rows, cut into batches; its last batch may be
    smaller, and rows never cross from one epoch into the next.
    """

    rows: int
    """Training rows."""
    batch: int
    """Rows in one step."""
    total_steps: int
    """Optimizer steps of the run."""
    last_rows: int
    """Rows that the last epoch reads (fewer than `rows` when epochs is a fraction)."""
    seed: int

    @classmethod
    def make(
        cls, *, rows: int, batch: int, seed: int, epochs: str | None, max_steps: int | None
    ) -> "Plan":
        """Plan `epochs` passes (a decimal string such as "1.5") or `max_steps` steps.

        Half an epoch is the first half of that epoch's permutation, rounded up to a row.
        """
        if rows < 1:
            raise ValueError("a plan needs at least one row")
        if max_steps is not None:
            return cls(rows, batch, max_steps, rows, seed)
        passes = Decimal(epochs or "1")
        whole = int(passes)
        rest = math.ceil((passes - whole) * rows)
        steps = whole * math.ceil(rows / batch) + math.ceil(rest / batch)
        return cls(rows, batch, steps, rest or rows, seed)

    @property
    def steps_in_epoch(self) -> int:
        """Steps of a whole epoch."""
        return math.ceil(self.rows / self.batch)

    def rows_of(self, step: int) -> Rows:
        """Row numbers that step `step` (from 0) reads: int64 [n], 1 <= n <= batch."""
        epoch, position = divmod(step, self.steps_in_epoch)
        order = permutation(self.rows, self.seed, epoch)
        last_epoch = (self.total_steps - 1) // self.steps_in_epoch
        limit = self.last_rows if epoch == last_epoch else self.rows
        return order[position * self.batch : min((position + 1) * self.batch, limit)]

    def epoch_after(self, step: int) -> float:
        """Passes over the rows that are done after `step` steps."""
        epoch, position = divmod(step, self.steps_in_epoch)
        return epoch + min(1.0, position * self.batch / self.rows)


@lru_cache(maxsize=2)
def permutation(rows: int, seed: int, epoch: int) -> Rows:
    """Order of all rows in an epoch: int64 [rows]."""
    order = np.random.Generator(np.random.PCG64([seed, epoch])).permutation(rows)
    order.setflags(write=False)
    return order
