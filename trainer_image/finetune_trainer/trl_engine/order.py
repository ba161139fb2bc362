"""Which units each forward pass reads: our engine's order, so that runs of both can be compared
step by step."""

import math
from collections.abc import Callable, Iterator

import numpy as np
from torch.utils.data import DataLoader, Sampler

from finetune_trainer.arrays import Int64
from finetune_trainer.engine.plan import Plan, epoch_order
from finetune_trainer.prepared import PreparedSplit
from finetune_trainer.trl_engine.batches import Batch


class StepBatches(Sampler[list[int]]):
    """The units of every forward pass of an epoch, step after step.

    A step's units are spread evenly over its passes. Transformers' trainer takes the same number
    of passes for each step but the last of an epoch, which has what is left.
    """

    def __init__(self, plan: Plan, units_per_pass: int) -> None:
        self._plan = plan
        self._units_per_pass = units_per_pass
        self.epoch = 0

    @property
    def passes_in_step(self) -> int:
        """Forward passes of a whole step."""
        return self._passes(self._plan.batch)

    def _passes(self, units: int) -> int:
        return math.ceil(units / self._units_per_pass)

    def __iter__(self) -> Iterator[list[int]]:
        order = epoch_order(self._plan.mixture, self._plan.seed, self.epoch)
        for begin in range(0, len(order), self._plan.batch):
            units = order[begin : begin + self._plan.batch]
            for share in np.array_split(units, self._passes(len(units))):
                yield share.tolist()

    def __len__(self) -> int:
        whole, rest = divmod(self._plan.mixture.per_epoch, self._plan.batch)
        return whole * self.passes_in_step + self._passes(rest)


class StepLoader(DataLoader[Batch]):
    """Batches in that order; the trainer says which epoch begins."""

    def __init__(
        self,
        split: PreparedSplit,
        batches: StepBatches,
        make: Callable[[PreparedSplit, Int64], Batch],
    ) -> None:
        super().__init__(
            range(split.units),  # type: ignore[arg-type]
            batch_sampler=batches,
            collate_fn=lambda units: make(split, np.array(units, np.int64)),
        )
        self.batches = batches

    def set_epoch(self, epoch: int) -> None:
        """Read epoch `epoch`, from 0, next."""
        self.batches.epoch = epoch


def units_per_pass(split: PreparedSplit, tokens: int) -> int:
    """Units of which a forward pass holds at most `tokens` tokens, padding included; one at
    least."""
    rows = int(np.diff(split.unit_offsets).max())
    return max(1, tokens // (rows * int(split.lengths.max())))
