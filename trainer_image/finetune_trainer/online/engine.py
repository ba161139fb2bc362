"""Training on answers that the model writes itself: a step is a batch of prompts.

write answers -> judge them -> what must be known of each token -> one or more updates
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
import torch
from finetune_api.spec import Training

from finetune_trainer.arrays import Float32, Int64
from finetune_trainer.checkpoint.state import capture, restore
from finetune_trainer.engine.determinism import seed_everything
from finetune_trainer.engine.distributed import Comm
from finetune_trainer.engine.scoring import SplitRows
from finetune_trainer.engine.settings import StepSettings, StopRequestedError
from finetune_trainer.engine.step import Engine, Rows, StepResult
from finetune_trainer.engine.update import Update
from finetune_trainer.methods.objective import Objective
from finetune_trainer.online.generation import Sampling
from finetune_trainer.online.rollouts import Rollouts, roll_out


@dataclass(frozen=True)
class Experience:
    """What a step learns from."""

    rollouts: Rollouts
    rewards: Float32
    """[R] what each answer is worth."""
    facts: Mapping[str, Float32]
    """Name -> [labels]; see `MicroBatch.facts`."""
    told: Mapping[str, float]
    """Means for metrics."""


class OnlineMethod(Protocol):
    """What a method makes of answers."""

    @property
    def objective(self) -> Objective:
        """What an update minimises."""

    @property
    def policy(self) -> torch.nn.Module:
        """What writes the answers."""

    @property
    def sampling(self) -> Sampling:
        """How it writes them."""

    @property
    def generations(self) -> int:
        """Answers to each prompt."""

    @property
    def passes(self) -> int:
        """Times that each answer is read by an update."""

    @property
    def parts(self) -> int:
        """Updates in one pass."""

    def learn(self, comm: Comm, rollouts: Rollouts, settings: StepSettings) -> Experience:
        """What is known of the answers; collective, and the same on all ranks.

        Raises StopRequestedError on all ranks when one was asked to stop.
        """

    def end_step(self, experience: Experience) -> None:
        """Take note that the updates on `experience` are done."""

    def state(self) -> Mapping[str, float]:
        """What must outlive the process beside parameters and step."""

    def set_state(self, state: Mapping[str, float]) -> None:
        """Go on from what `state` gave."""


class OnlineEngine(Engine):
    """A policy in training, and where it stands."""

    def __init__(
        self,
        comm: Comm,
        model: torch.nn.Module,
        rows: Rows,
        *,
        method: OnlineMethod,
        training: Training,
        micro_batch_tokens: int | None = None,
    ) -> None:
        """An engine at step 0.

        Args:
            model: all that trains; the method's policy is it, or a part of it.
            rows: prompts.
        """
        self.method = method
        self.last: Experience | None = None
        """What the last step learnt from."""
        super().__init__(
            comm,
            model,
            rows,
            objective=method.objective,
            training=training,
            micro_batch_tokens=micro_batch_tokens,
        )

    def state(self) -> Mapping[str, float]:
        """The method's."""
        return self.method.state()

    def set_state(self, state: Mapping[str, float]) -> None:
        """Go on from what `state` gave."""
        self.method.set_state(state)

    def longest_unit(self, rows: Rows) -> int:
        """Tokens of the longest prompt with the longest answer."""
        return super().longest_unit(rows) + self.method.sampling.max_new_tokens

    def run_step(self) -> StepResult:
        """Do the next step. Raises StopRequestedError with the state of the last step intact."""
        seed_everything(self.settings.seed, self.step, self.comm.rank)
        units = self.rows.plan.units_of(self.step)
        experience = self._experience(units)
        rate = self.schedule.rate(self.step)
        updates = self._update_all(experience, rate)
        self.method.end_step(experience)
        self.step += 1
        self.last = experience
        return _together(updates, experience.told, rate)

    def _experience(self, units: Int64) -> Experience:
        rollouts = roll_out(
            self.comm,
            self.method.policy,
            self.rows.split,
            units,
            self.method.sampling,
            generations=self.method.generations,
            settings=self.settings,
        )
        return self.method.learn(self.comm, rollouts, self.settings)

    def _update_all(self, experience: Experience, rate: float) -> list[Update]:
        """All updates of the step, or none: one that is interrupted leaves no trace."""
        rows = SplitRows(experience.rollouts.split, facts=experience.facts)
        single = self.method.passes * self.method.parts == 1
        before = capture(self) if self.comm.is_first and not single else None
        applied, skipped = self.applied, self.skipped
        try:
            return [self.update(rows, units, rate) for units in self._parts(len(rows.split))]
        except StopRequestedError:
            if not single:
                restore(self, before, applied=applied)
                self.skipped = skipped
            raise

    def _parts(self, answers: int) -> Iterator[Int64]:
        """The answers of each update, drawn anew in each pass."""
        for number in range(self.method.passes):
            order = np.arange(answers)
            if self.method.parts > 1:
                order = np.random.default_rng([self.settings.seed, self.step, number]).permutation(
                    answers
                )
            yield from (part for part in np.array_split(order, self.method.parts) if len(part))


def _together(updates: Sequence[Update], told: Mapping[str, float], rate: float) -> StepResult:
    """One result of a step's updates: their means, and the sums of what they read."""
    names = dict.fromkeys(name for update in updates for name in update.means)
    means = {
        name: float(np.mean([update.means[name] for update in updates if name in update.means]))
        for name in names
    }
    return StepResult(
        loss=float(np.mean([update.loss for update in updates])),
        means={**means, **told},
        learning_rate=rate,
        grad_norm=max(update.grad_norm for update in updates),
        tokens=sum(update.tokens for update in updates),
        labels=sum(update.labels for update in updates),
        skipped=all(update.skipped for update in updates),
    )
