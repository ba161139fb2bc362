"""The learning rate as a pure function of the step."""

import math
from dataclasses import dataclass

from finetune_api.spec import Scheduler, Training


@dataclass(frozen=True)
class Schedule:
    """Linear warm-up from 0, then a course down to `floor`."""

    kind: Scheduler
    peak: float
    total_steps: int
    warmup_steps: int
    floor: float
    """Learning rate at the end (Cosine and Linear)."""

    @classmethod
    def of(cls, training: Training, total_steps: int) -> "Schedule":
        """The schedule of a resolved spec; the warm-up is rounded up to whole steps."""
        assert training.learning_rate is not None
        peak = float(training.learning_rate)
        return cls(
            kind=training.scheduler,
            peak=peak,
            total_steps=total_steps,
            warmup_steps=math.ceil(float(training.warmup_ratio) * total_steps),
            floor=peak * float(training.min_learning_rate_ratio),
        )

    def rate(self, step: int) -> float:
        """Learning rate of step `step`, counted from 0.

        Warm-up step s of w uses peak * (s + 1) / (w + 1), so that no step has rate 0; the last
        step of all still moves, as the course reaches `floor` only after it.
        """
        if step < self.warmup_steps:
            return self.peak * (step + 1) / (self.warmup_steps + 1)
        if self.kind is Scheduler.CONSTANT:
            return self.peak
        done = (step - self.warmup_steps) / max(1, self.total_steps - self.warmup_steps)
        left = 1 - done if self.kind is Scheduler.LINEAR else (1 + math.cos(math.pi * done)) / 2
        return self.floor + (self.peak - self.floor) * left
