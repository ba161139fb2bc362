"""What a method is to the engine: named sums over a micro-batch, and what they count.

The engine divides each sum by its count over the whole global batch, over all micro-batches and
ranks, so that neither packing nor the number of processes changes the result.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from types import MappingProxyType

import torch

from finetune_trainer.engine.batches import MicroBatch
from finetune_trainer.methods.scorer import LabelScorer

Sums = Mapping[str, torch.Tensor]
"""Name -> float32 [], the sum over one micro-batch."""
Counts = Mapping[str, int]
"""Name -> number of things summed."""


@dataclass(frozen=True)
class Objective:
    """A method's loss and what it tells, as pure functions."""

    sums: Callable[[LabelScorer, MicroBatch], Sums]
    """Called once for each forward pass, on every rank equally often. A dummy batch gives zeros
    that still reach every parameter which trains."""
    counts: Callable[[MicroBatch], Counts]
    """Of the same names; known before the forward pass."""
    weights: Mapping[str, float]
    """Name -> weight of its mean in the loss that training minimises; the others are only told."""
    scorer: Callable[[torch.nn.Module], LabelScorer] = LabelScorer
    """What asks the module that trains for the log-probabilities that `sums` reads."""
    needs_reference: bool = False
    """Whether `MicroBatch.reference` must be there."""
    reads_prompts: bool = False
    """Whether the prompt of each unit's first row counts as labels too, apart from its answer."""

    preliminary: "Objective | None" = None
    """What must be known of the partner rows of the whole global batch, without gradients, before
    the loss of any micro-batch: its means are `MicroBatch.given`."""

    def loss(self, means: Mapping[str, float]) -> float:
        """What training minimises, from the means of the sums; of nothing it is 0."""
        return sum(weight * means.get(name, 0.0) for name, weight in self.weights.items())


def minimise(*names: str) -> Mapping[str, float]:
    """Weight 1 for each name."""
    return MappingProxyType(dict.fromkeys(names, 1.0))
