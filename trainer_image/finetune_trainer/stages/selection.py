"""Which evaluated step is the best, and when there is no use in going on: pure functions of the
evaluations so far, so that a resumed run decides as an undisturbed one."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from finetune_api.spec import BestMetric, FineTuneJobSpec

from finetune_trainer.checkpoint.header import Evaluated
from finetune_trainer.methods.ranking import ACCURACY

LOSS = "loss"
"""What the method minimises, on held-out rows."""


@dataclass(frozen=True)
class Selection:
    """The rule."""

    metric: BestMetric
    patience: int | None
    """Evaluations in a row without improvement after which training ends; None: never."""
    publishes_best: bool

    @classmethod
    def of(cls, spec: FineTuneJobSpec) -> "Selection":
        """The rule of a resolved spec."""
        best, stopping = spec.checkpoints.best, spec.training.early_stopping
        return cls(
            metric=best.metric if best else BestMetric.LOSS,
            patience=stopping.patience if stopping else None,
            publishes_best=best is not None,
        )

    def value_of(self, means: Mapping[str, float]) -> float | None:
        """The value that decides, from an evaluation's means; None when it is not finite."""
        value = means[LOSS if self.metric is BestMetric.LOSS else ACCURACY]
        return value if math.isfinite(value) else None

    def best(self, evaluations: Sequence[Evaluated]) -> Evaluated | None:
        """The best evaluation, the earliest of equals."""
        sign = 1 if self.metric is BestMetric.LOSS else -1
        finite = [(sign * e.value, e.step, e) for e in evaluations if e.value is not None]
        return min(finite, key=lambda entry: entry[:2])[2] if finite else None

    def is_over(self, evaluations: Sequence[Evaluated]) -> bool:
        """Whether patience is used up."""
        best = self.best(evaluations)
        if self.patience is None:
            return False
        since = sum(1 for e in evaluations if best is None or e.step > best.step)
        return since >= self.patience
