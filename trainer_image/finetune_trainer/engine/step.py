"""Training step by step: each reads one global batch of the prepared rows."""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property

import torch
from finetune_api.spec import Training

from finetune_trainer.arrays import Float32
from finetune_trainer.engine.determinism import seed_everything
from finetune_trainer.engine.distributed import Comm
from finetune_trainer.engine.plan import Plan
from finetune_trainer.engine.schedule import Schedule
from finetune_trainer.engine.scoring import SplitRows, measure_units
from finetune_trainer.engine.settings import chosen_micro_batch
from finetune_trainer.engine.update import Update, Updater
from finetune_trainer.methods.objective import Objective
from finetune_trainer.prepared import PreparedSplit


@dataclass(frozen=True)
class StepResult:
    """One step, over all ranks."""

    loss: float
    """What the step minimised: of SFT the mean over the label tokens of the global batch, in
    nats."""
    means: Mapping[str, float]
    """Mean of each sum that the method tells."""
    learning_rate: float
    grad_norm: float
    """Before clipping."""
    tokens: int
    """Tokens read, without padding."""
    labels: int
    skipped: bool
    """The loss or a gradient was not finite, so no parameter moved."""

    @classmethod
    def of(cls, update: Update, rate: float) -> "StepResult":
        """The step that is this update."""
        return cls(
            update.loss,
            update.means,
            rate,
            update.grad_norm,
            update.tokens,
            update.labels,
            update.skipped,
        )


@dataclass(frozen=True)
class Rows:
    """What training reads: a split, the order of its units, and what the reference says of it."""

    split: PreparedSplit
    plan: Plan
    reference: Float32 | None = None
    """[R] log-probability of each row under the reference model."""
    partners: SplitRows | None = None
    """What the method's preliminary pass reads."""

    @cached_property
    def known(self) -> SplitRows:
        """The rows with what is known of them before training."""
        return SplitRows(self.split, self.reference)


class Engine(Updater):
    """A model in training, and where it stands: a step is one update."""

    def __init__(
        self,
        comm: Comm,
        model: torch.nn.Module,
        rows: Rows,
        *,
        objective: Objective,
        training: Training,
        micro_batch_tokens: int | None = None,
    ) -> None:
        """An engine at step 0."""
        tokens = micro_batch_tokens or training.micro_batch_tokens
        super().__init__(
            comm,
            model,
            objective,
            training,
            tokens or chosen_micro_batch(self.longest_unit(rows), comm.device),
        )
        self.rows = rows
        self.schedule = Schedule.of(training, rows.plan.total_steps)
        self.step = 0
        """Steps done, skipped ones included."""

    @property
    def finished(self) -> bool:
        """Whether all steps are done."""
        return self.step >= self.rows.plan.total_steps

    def state(self) -> Mapping[str, float]:
        """What must outlive the process beside parameters and counts."""
        return {}

    def set_state(self, state: Mapping[str, float]) -> None:
        """Go on from what `state` gave."""

    def longest_unit(self, rows: Rows) -> int:
        """Tokens of the longest unit that an update reads."""
        return int(rows.split.unit_lengths.max())

    def run_step(self) -> StepResult:
        """Do the next step. Raises StopRequestedError with the state of the last step intact."""
        seed_everything(self.settings.seed, self.step, self.comm.rank)
        units = self.rows.plan.units_of(self.step)
        rate = self.schedule.rate(self.step)
        update = self.update(self.rows.known, units, rate, self._look_at_partners())
        self.step += 1
        return StepResult.of(update, rate)

    def _look_at_partners(self) -> Mapping[str, float]:
        """What the method must know of the step's partner rows, over all ranks."""
        ahead, partners = self.objective.preliminary, self.rows.partners
        if ahead is None:
            return {}
        assert partners is not None, "the data has partner rows for this method"
        units = self.rows.plan.units_of(self.step)
        return measure_units(
            self.comm, self.model, partners, units, objective=ahead, settings=self.settings
        )
