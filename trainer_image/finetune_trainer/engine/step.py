"""One optimizer step over one global batch, the same on any number of ranks."""

import math
from collections.abc import Callable, Mapping
from contextlib import nullcontext
from dataclasses import dataclass

import torch
from finetune_api.spec import Training
from torch.nn.parallel import DistributedDataParallel

from finetune_trainer.engine.batches import Float32, MicroBatch, make_batch
from finetune_trainer.engine.determinism import seed_everything
from finetune_trainer.engine.distributed import Comm
from finetune_trainer.engine.loss import LossModule
from finetune_trainer.engine.model import computing, trainable
from finetune_trainer.engine.optimizer import make_optimizer, set_rate
from finetune_trainer.engine.packing import UnitSizes
from finetune_trainer.engine.plan import Plan
from finetune_trainer.engine.schedule import Schedule
from finetune_trainer.engine.scoring import SplitRows, measure_units
from finetune_trainer.engine.settings import StepSettings, StopRequestedError, chosen_micro_batch
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


@dataclass(frozen=True)
class Rows:
    """What training reads: a split, the order of its units, and what the reference says of it."""

    split: PreparedSplit
    plan: Plan
    reference: Float32 | None = None
    """[R] log-probability of each row under the reference model."""
    partners: SplitRows | None = None
    """What the method's preliminary pass reads."""


@dataclass
class Engine:
    """A model in training, and where it stands."""

    comm: Comm
    model: torch.nn.Module
    wrapped: torch.nn.Module
    """LossModule, inside DDP when there are several ranks."""
    optimizer: torch.optim.AdamW
    objective: Objective
    rows: Rows
    schedule: Schedule
    settings: StepSettings
    sizes: UnitSizes
    step: int = 0
    """Steps done, skipped ones included."""
    applied: int = 0
    """Steps that moved the parameters."""

    @classmethod
    def make(
        cls,
        comm: Comm,
        model: torch.nn.Module,
        rows: Rows,
        *,
        objective: Objective,
        training: Training,
        micro_batch_tokens: int | None = None,
    ) -> "Engine":
        """An engine at step 0; all ranks start from rank 0's parameters."""
        comm.broadcast(parameter.data for _, parameter in trainable(model))
        wrapped: torch.nn.Module = LossModule(model, objective)
        if comm.world_size > 1:
            devices = [comm.device] if comm.device.type == "cuda" else None
            wrapped = DistributedDataParallel(
                wrapped, device_ids=devices, init_sync=False, forward_sync_buffers=False
            )
        sizes = UnitSizes.of(rows.split)
        tokens = micro_batch_tokens or training.micro_batch_tokens
        chosen = tokens or chosen_micro_batch(int(sizes.tokens.max()), comm.device)
        return cls(
            comm=comm,
            model=model,
            wrapped=wrapped,
            optimizer=make_optimizer(model, training),
            objective=objective,
            rows=rows,
            schedule=Schedule.of(training, rows.plan.total_steps),
            settings=StepSettings.of(training, chosen),
            sizes=sizes,
        )

    @property
    def finished(self) -> bool:
        """Whether all steps are done."""
        return self.step >= self.rows.plan.total_steps

    def run_step(self) -> StepResult:
        """Do the next step. Raises StopRequestedError with the state of the last step intact."""
        seed_everything(self.settings.seed, self.step, self.comm.rank)
        given = self._look_at_partners()
        batches = self._micro_batches(given)
        counts, (tokens, labels) = self._count(batches)
        self.wrapped.train()
        local = self._accumulate(batches, counts)
        norm = self._global_norm()
        *sums, broken = self.comm.sum([*local, float(not math.isfinite(norm))])
        means = {
            name: total / count
            for (name, count), total in zip(counts.items(), sums, strict=True)
            if count
        }
        loss = self.objective.loss(means)
        skipped = broken > 0 or not math.isfinite(loss)
        rate = self.schedule.rate(self.step)
        if not skipped:
            self._apply(norm, rate)
        self.optimizer.zero_grad(set_to_none=True)
        self.step += 1
        return StepResult(loss, {**means, **given}, rate, norm, int(tokens), int(labels), skipped)

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

    def _micro_batches(self, given: Mapping[str, float]) -> list[MicroBatch]:
        """This rank's share of the step; every rank has the same number."""
        units = self.rows.plan.units_of(self.step)
        settings = self.settings
        layout = self.sizes.lay_out(
            units, self.comm.world_size, settings.micro_batch_tokens, packing=settings.packing
        )
        return [
            make_batch(
                self.rows.split,
                units,
                chosen,
                packing=settings.packing,
                reference=self.rows.reference,
                prompts=self.objective.reads_prompts,
                given=given,
            )
            for chosen in layout[self.comm.rank]
        ]

    def _count(self, batches: list[MicroBatch]) -> tuple[dict[str, float], list[float]]:
        """Over all ranks: (what each sum of the objective counts, [tokens, labels]).

        A request to stop travels in the same message; raises StopRequestedError on all ranks.
        """
        each = [self.objective.counts(batch) for batch in batches]
        names = list(each[0])
        mine = [float(sum(counts[name] for counts in each)) for name in names]
        read = [float(sum(b.tokens for b in batches)), float(sum(b.labels for b in batches))]
        stop, total = self.comm.agree_to_stop([*mine, *read])
        if stop:
            raise StopRequestedError
        return dict(zip(names, total[:-2], strict=True)), total[-2:]

    def _accumulate(self, batches: list[MicroBatch], counts: Mapping[str, float]) -> list[float]:
        """Add up gradients of the objective over the global batch; this rank's sums, by name.

        DDP averages over ranks, so each rank's share is scaled up by their number. Gradients are
        exchanged once, with the last micro-batch.
        """
        world = self.comm.world_size
        scales = {
            name: weight * world / max(1.0, counts[name])
            for name, weight in self.objective.weights.items()
        }
        totals = torch.zeros(len(counts), dtype=torch.float64, device=self.comm.device)
        for index, batch in enumerate(batches):
            if index and self.comm.agree_to_stop()[0]:
                self.optimizer.zero_grad(set_to_none=True)
                raise StopRequestedError
            last = index == len(batches) - 1
            with nullcontext() if last else self._without_exchange():
                with computing(self.settings.precision, self.comm.device):
                    total, sums = self.wrapped(batch.to(self.comm.device), scales)
                total.backward()
            totals += torch.stack([sums[name].double() for name in counts])
        return [float(value) for value in totals]

    def _without_exchange(self) -> "nullcontext[None]":
        no_sync: Callable[[], nullcontext[None]] = getattr(self.wrapped, "no_sync", nullcontext)
        return no_sync()

    def _global_norm(self) -> float:
        """Norm of all gradients together; equal on all ranks once they are exchanged."""
        gradients = [p.grad for _, p in trainable(self.model) if p.grad is not None]
        return float(torch.nn.utils.get_total_norm(gradients))

    def _apply(self, norm: float, rate: float) -> None:
        """Clip by the global norm (Pascanu et al. 2013) and step."""
        parameters = [p for _, p in trainable(self.model)]
        limit = self.settings.max_grad_norm
        torch.nn.utils.clip_grads_with_norm_(parameters, limit, torch.tensor(norm))
        set_rate(self.optimizer, rate)
        self.optimizer.step()
        self.applied += 1
