"""One optimizer update over a batch of units, the same on any number of ranks."""

import math
from collections.abc import Callable, Mapping
from contextlib import nullcontext
from dataclasses import dataclass
from types import MappingProxyType

import torch
from finetune_api.spec import Training
from torch.nn.parallel import DistributedDataParallel

from finetune_trainer.arrays import Int64
from finetune_trainer.engine.batches import MicroBatch, make_batch
from finetune_trainer.engine.distributed import Comm
from finetune_trainer.engine.loss import LossModule
from finetune_trainer.engine.model import computing, trainable
from finetune_trainer.engine.optimizer import make_optimizer, set_rate
from finetune_trainer.engine.scoring import SplitRows
from finetune_trainer.engine.settings import StepSettings, StopRequestedError
from finetune_trainer.methods.objective import Objective


@dataclass(frozen=True)
class Update:
    """What one update saw, over all ranks."""

    loss: float
    """What it minimised."""
    means: Mapping[str, float]
    """Mean of each sum that the method tells."""
    grad_norm: float
    """Before clipping."""
    tokens: int
    """Tokens read, without padding."""
    labels: int
    skipped: bool
    """The loss or a gradient was not finite, so no parameter moved."""


class Updater:
    """A model with its optimizer; all ranks start from rank 0's parameters."""

    def __init__(
        self,
        comm: Comm,
        model: torch.nn.Module,
        objective: Objective,
        training: Training,
        micro_batch_tokens: int,
    ) -> None:
        comm.broadcast(parameter.data for _, parameter in trainable(model))
        self.comm = comm
        self.model = model
        self.objective = objective
        self.settings = StepSettings.of(training, micro_batch_tokens)
        self.wrapped: torch.nn.Module = LossModule(model, objective)
        """Inside DDP when there are several ranks."""
        if comm.world_size > 1:
            devices = [comm.device] if comm.device.type == "cuda" else None
            self.wrapped = DistributedDataParallel(
                self.wrapped, device_ids=devices, init_sync=False, forward_sync_buffers=False
            )
        self.optimizer: torch.optim.AdamW = make_optimizer(model, training)
        self.applied = 0
        """Updates that moved the parameters."""
        self.skipped = 0
        """Updates that were passed over, since something was not finite."""

    def update(
        self,
        rows: SplitRows,
        units: Int64,
        rate: float,
        given: Mapping[str, float] = MappingProxyType({}),
    ) -> Update:
        """Update once on `units` [n] of `rows`, at learning rate `rate`.

        Raises StopRequestedError on all ranks, with the parameters as they were.
        """
        batches = self._micro_batches(rows, units, given)
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
        if skipped:
            self.skipped += 1
        else:
            self._apply(norm, rate)
        self.optimizer.zero_grad(set_to_none=True)
        return Update(loss, {**means, **given}, norm, int(tokens), int(labels), skipped)

    def _micro_batches(
        self, rows: SplitRows, units: Int64, given: Mapping[str, float]
    ) -> list[MicroBatch]:
        """This rank's share of `units`; every rank has the same number."""
        settings = self.settings
        layout = rows.sizes.lay_out(
            units, self.comm.world_size, settings.micro_batch_tokens, packing=settings.packing
        )
        return [
            make_batch(
                rows.split,
                units,
                chosen,
                packing=settings.packing,
                reference=rows.reference,
                prompts=self.objective.reads_prompts,
                given=given,
                facts=rows.facts,
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
