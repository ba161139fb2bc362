"""One optimizer step over one global batch, the same on any number of ranks."""

import math
from collections.abc import Callable
from contextlib import nullcontext
from dataclasses import dataclass, field

import numpy as np
import torch
from finetune_api.spec import Method, Precision, Training
from torch.nn.parallel import DistributedDataParallel

from finetune_trainer.engine.batches import MicroBatch, lay_out, make_batch, row_lengths
from finetune_trainer.engine.determinism import seed_everything
from finetune_trainer.engine.distributed import Comm
from finetune_trainer.engine.model import computing, trainable
from finetune_trainer.engine.optimizer import make_optimizer, set_rate
from finetune_trainer.engine.plan import Mixture, Plan
from finetune_trainer.engine.schedule import Schedule
from finetune_trainer.methods import loss_of
from finetune_trainer.prepared import PreparedSplit

MICRO_BATCH_TOKENS_CPU = 2048
MICRO_BATCH_TOKENS_ACCELERATOR = 8192


class StopRequestedError(Exception):
    """A rank was asked to stop; the step under way was given up, on all ranks."""


@dataclass(frozen=True)
class StepSettings:
    """What a step needs to know of the spec."""

    seed: int
    micro_batch_tokens: int
    packing: bool
    max_grad_norm: float
    precision: Precision

    @classmethod
    def of(cls, training: Training, micro_batch_tokens: int) -> "StepSettings":
        """The settings of a resolved spec."""
        return cls(
            seed=training.seed,
            micro_batch_tokens=micro_batch_tokens,
            packing=training.packing,
            max_grad_norm=float(training.max_grad_norm),
            precision=training.precision,
        )


@dataclass(frozen=True)
class StepResult:
    """One step, over all ranks."""

    loss: float
    """Mean over the label tokens of the global batch, in nats."""
    learning_rate: float
    grad_norm: float
    """Before clipping."""
    tokens: int
    """Tokens read, without padding."""
    labels: int
    skipped: bool
    """The loss or a gradient was not finite, so no parameter moved."""


class LossModule(torch.nn.Module):
    """The model with its loss, so that DDP's hooks see the whole computation."""

    def __init__(self, model: torch.nn.Module, method: Method) -> None:
        super().__init__()
        self.model = model
        self._loss, self._name = loss_of(method)

    def forward(self, batch: MicroBatch) -> torch.Tensor:
        """The sum that training minimises: float32 []."""
        return self._loss(self.model, batch)[self._name][0]


@dataclass
class Engine:
    """A model in training, and where it stands."""

    comm: Comm
    model: torch.nn.Module
    wrapped: torch.nn.Module
    """LossModule, inside DDP when there are several ranks."""
    optimizer: torch.optim.AdamW
    plan: Plan
    schedule: Schedule
    split: PreparedSplit
    settings: StepSettings
    step: int = 0
    """Steps done, skipped ones included."""
    applied: int = 0
    """Steps that moved the parameters."""
    _lengths: list[int] = field(default_factory=list, repr=False)

    @classmethod
    def make(
        cls,
        comm: Comm,
        model: torch.nn.Module,
        split: PreparedSplit,
        *,
        method: Method,
        training: Training,
        micro_batch_tokens: int | None = None,
        mixture: Mixture | None = None,
    ) -> "Engine":
        """An engine at step 0; all ranks start from rank 0's parameters. Without a mixture every
        unit is read once an epoch."""
        comm.broadcast(parameter.data for _, parameter in trainable(model))
        wrapped: torch.nn.Module = LossModule(model, method)
        if comm.world_size > 1:
            devices = [comm.device] if comm.device.type == "cuda" else None
            wrapped = DistributedDataParallel(
                wrapped, device_ids=devices, init_sync=False, forward_sync_buffers=False
            )
        plan = Plan.make(
            mixture=mixture or Mixture.concat(split.units),
            batch=training.global_batch_size,
            seed=training.seed,
            epochs=training.epochs,
            max_steps=training.max_steps,
        )
        lengths = row_lengths(split).tolist()
        tokens = micro_batch_tokens or training.micro_batch_tokens
        chosen = tokens or chosen_micro_batch(max(lengths), comm.device)
        return cls(
            comm=comm,
            model=model,
            wrapped=wrapped,
            optimizer=make_optimizer(model, training),
            plan=plan,
            schedule=Schedule.of(training, plan.total_steps),
            split=split,
            settings=StepSettings.of(training, chosen),
            _lengths=lengths,
        )

    @property
    def finished(self) -> bool:
        """Whether all steps are done."""
        return self.step >= self.plan.total_steps

    def run_step(self) -> StepResult:
        """Do the next step. Raises StopRequestedError with the state of the last step intact."""
        seed_everything(self.settings.seed, self.step, self.comm.rank)
        batches = self._micro_batches()
        mine = [sum(b.labels for b in batches), sum(b.tokens for b in batches if b.labels)]
        stop, (labels, tokens) = self.comm.agree_to_stop(mine)
        if stop:
            raise StopRequestedError
        self.wrapped.train()
        local_loss = self._accumulate(batches, max(1.0, labels))
        norm = self._global_norm()
        loss, broken = self.comm.sum([local_loss, float(not math.isfinite(norm))])
        loss /= max(1.0, labels)
        skipped = broken > 0 or not math.isfinite(loss)
        rate = self.schedule.rate(self.step)
        if not skipped:
            self._apply(norm, rate)
        self.optimizer.zero_grad(set_to_none=True)
        self.step += 1
        return StepResult(loss, rate, norm, int(tokens), int(labels), skipped)

    def _micro_batches(self) -> list[MicroBatch]:
        """This rank's share of the step; every rank has the same number."""
        rows = self.split.rows_of(self.plan.units_of(self.step))
        lengths = [self._lengths[row] for row in rows]
        settings = self.settings
        layout = lay_out(
            lengths, self.comm.world_size, settings.micro_batch_tokens, packing=settings.packing
        )
        return [
            make_batch(self.split, rows, chosen, packing=settings.packing)
            for chosen in layout[self.comm.rank]
        ]

    def _accumulate(self, batches: list[MicroBatch], labels: float) -> float:
        """Add up gradients of the mean over all label tokens; the local sum of the loss.

        DDP averages over ranks, so each rank's share is scaled up by their number. Gradients are
        exchanged once, with the last micro-batch.
        """
        scale = self.comm.world_size / labels
        total = torch.zeros((), dtype=torch.float64, device=self.comm.device)
        for index, batch in enumerate(batches):
            if index and self.comm.agree_to_stop()[0]:
                self.optimizer.zero_grad(set_to_none=True)
                raise StopRequestedError
            last = index == len(batches) - 1
            with nullcontext() if last else self._without_exchange():
                with computing(self.settings.precision, self.comm.device):
                    loss = self.wrapped(batch.to(self.comm.device))
                (loss * scale).backward()
            total += loss.detach().double()
        return float(total)

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


def chosen_micro_batch(longest_row: int, device: torch.device) -> int:
    """Tokens of a forward pass where the job names none: room for the longest row, and enough
    to keep an accelerator busy; attention masks of longer packs cost more than they save on a
    CPU."""
    usual = MICRO_BATCH_TOKENS_CPU if device.type == "cpu" else MICRO_BATCH_TOKENS_ACCELERATOR
    return max(longest_row, usual)


def cross_entropy(
    comm: Comm,
    model: torch.nn.Module,
    split: PreparedSplit,
    *,
    method: Method,
    settings: StepSettings,
) -> float:
    """Mean loss of all rows of `split`, shared among the ranks, in nats per label token.

    Raises StopRequestedError on all ranks when one was asked to stop.
    """
    lengths = row_lengths(split).tolist()
    capacity = settings.micro_batch_tokens
    layout = lay_out(lengths, comm.world_size, capacity, packing=settings.packing)
    rows = np.arange(len(lengths))
    module = LossModule(model, method).eval()
    total, labels = 0.0, 0
    for chosen in layout[comm.rank]:
        if comm.agree_to_stop()[0]:
            raise StopRequestedError
        batch = make_batch(split, rows, chosen, packing=settings.packing)
        with torch.no_grad(), computing(settings.precision, comm.device):
            total += float(module(batch.to(comm.device)))
        labels += batch.labels
    total_sum, label_sum = comm.sum([total, labels])
    return total_sum / max(1.0, label_sum)
