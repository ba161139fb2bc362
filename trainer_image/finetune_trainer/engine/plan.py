"""Which units a step reads: a pure function of the seed, so that a resume needs no state."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from decimal import Decimal
from functools import lru_cache

import numpy as np
import numpy.typing as npt

Units = npt.NDArray[np.int64]


@dataclass(frozen=True)
class Part:
    """The units of one train source."""

    first: int
    """Number of its first unit; the others follow."""
    units: int
    """How many it has."""
    per_epoch: int
    """How many units one epoch reads from it, repeated ones counted again."""


@dataclass(frozen=True)
class Mixture:
    """How much of each train source an epoch reads."""

    parts: tuple[Part, ...]
    """In the order of the sources; their ranges follow one another."""

    @classmethod
    def of(cls, sizes: Sequence[int], per_epoch: Sequence[int]) -> "Mixture":
        """A mixture of sources with `sizes` units, of which an epoch reads `per_epoch`."""
        firsts = [sum(sizes[:index]) for index in range(len(sizes))]
        return cls(tuple(Part(*part) for part in zip(firsts, sizes, per_epoch, strict=True)))

    @classmethod
    def concat(cls, *sizes: int) -> "Mixture":
        """Every source once an epoch."""
        return cls.of(sizes, sizes)

    @property
    def per_epoch(self) -> int:
        """Units that an epoch reads."""
        return sum(part.per_epoch for part in self.parts)


@dataclass(frozen=True)
class Plan:
    """The steps of a whole run.

    Every epoch is a seeded order of the units that the mixture takes, cut into batches; its last
    batch may be smaller, and batches never cross from one epoch into the next.
    """

    mixture: Mixture
    batch: int
    """Units in one step."""
    total_steps: int
    """Optimizer steps of the run."""
    last_units: int
    """Units that the last epoch reads (fewer than an epoch's when epochs is a fraction)."""
    seed: int

    @classmethod
    def make(
        cls, *, mixture: Mixture, batch: int, seed: int, epochs: str | None, max_steps: int | None
    ) -> "Plan":
        """Plan `epochs` passes (a decimal string such as "1.5") or `max_steps` steps.

        Half an epoch is the first half of that epoch's order, rounded up to a unit.
        """
        units = mixture.per_epoch
        if units < 1:
            raise ValueError("a plan needs at least one unit")
        if max_steps is not None:
            return cls(mixture, batch, max_steps, units, seed)
        passes = Decimal(epochs or "1")
        whole = int(passes)
        rest = math.ceil((passes - whole) * units)
        steps = whole * math.ceil(units / batch) + math.ceil(rest / batch)
        return cls(mixture, batch, steps, rest or units, seed)

    @property
    def steps_in_epoch(self) -> int:
        """Steps of a whole epoch."""
        return math.ceil(self.mixture.per_epoch / self.batch)

    def units_of(self, step: int) -> Units:
        """Unit numbers that step `step` (from 0) reads: int64 [n], 1 <= n <= batch."""
        epoch, position = divmod(step, self.steps_in_epoch)
        order = epoch_order(self.mixture, self.seed, epoch)
        last_epoch = (self.total_steps - 1) // self.steps_in_epoch
        limit = self.last_units if epoch == last_epoch else len(order)
        return order[position * self.batch : min((position + 1) * self.batch, limit)]

    def epoch_after(self, step: int) -> float:
        """Epochs that are done after `step` steps."""
        epoch, position = divmod(step, self.steps_in_epoch)
        return epoch + min(1.0, position * self.batch / self.mixture.per_epoch)


@lru_cache(maxsize=2)
def epoch_order(mixture: Mixture, seed: int, epoch: int) -> Units:
    """What an epoch reads, in order: int64 [mixture.per_epoch], read-only.

    A source that is read once an epoch gives all its units. Any other goes on in an endless
    stream of permutations of its own where the epoch before stopped, so that at the end of every
    epoch its units have come equally often, to within one. What all sources give is then shuffled
    together.
    """
    picks = [_picked(part, seed, index, epoch) for index, part in enumerate(mixture.parts)]
    order: Units = np.concatenate(picks)[_permutation(mixture.per_epoch, [seed, epoch])]
    order.setflags(write=False)
    return order


def _picked(part: Part, seed: int, index: int, epoch: int) -> Units:
    """Units that source `index` gives to `epoch`: int64 [part.per_epoch]."""
    if part.per_epoch == part.units:
        return np.arange(part.first, part.first + part.units)
    begin, end = epoch * part.per_epoch, (epoch + 1) * part.per_epoch
    taken = [np.zeros(0, np.int64)]
    for lap in range(begin // part.units, -(-end // part.units)):
        start = lap * part.units
        # Numpy reads a missing last word of a seed as 0: the 1 keeps it apart from an epoch's.
        order = _permutation(part.units, [seed, lap, index + 1])
        taken.append(order[max(begin - start, 0) : min(end - start, part.units)])
    return np.concatenate(taken) + part.first


def _permutation(size: int, seed: list[int]) -> Units:
    return np.random.Generator(np.random.PCG64(seed)).permutation(size)
