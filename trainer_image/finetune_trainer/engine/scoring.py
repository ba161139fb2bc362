"""Forward passes over a whole split: means of an objective, and log-probabilities of rows."""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from types import MappingProxyType

import numpy as np
import torch

from finetune_trainer.arrays import Float32, Int64
from finetune_trainer.engine.batches import MicroBatch, make_batch
from finetune_trainer.engine.distributed import Comm
from finetune_trainer.engine.loss import LossModule
from finetune_trainer.engine.model import computing
from finetune_trainer.engine.packing import UnitSizes
from finetune_trainer.engine.settings import StepSettings, StopRequestedError
from finetune_trainer.methods.objective import Objective
from finetune_trainer.methods.scorer import LabelScorer
from finetune_trainer.prepared import PreparedSplit


@dataclass(frozen=True)
class SplitRows:
    """A split and what the reference says of its rows."""

    split: PreparedSplit
    reference: Float32 | None = None
    """[R] log-probability of each row under the reference model."""
    facts: Mapping[str, Float32] = field(default_factory=dict)
    """Name -> [labels of the split]; see `MicroBatch.facts`."""

    @cached_property
    def sizes(self) -> UnitSizes:
        """Of all units; a step of training asks for some of them again and again."""
        return UnitSizes.of(self.split)


def measure_split(
    comm: Comm,
    model: torch.nn.Module,
    split: PreparedSplit,
    *,
    objective: Objective,
    settings: StepSettings,
    reference: Float32 | None = None,
    partners: SplitRows | None = None,
) -> dict[str, float]:
    """Means of the objective's sums over all units of `split`, shared among the ranks.

    Raises StopRequestedError on all ranks when one was asked to stop.
    """
    units = np.arange(split.units)
    given: Mapping[str, float] = {}
    if objective.preliminary is not None:
        assert partners is not None, "the data has partner rows for this method"
        given = measure_units(
            comm, model, partners, units, objective=objective.preliminary, settings=settings
        )
    rows = SplitRows(split, reference)
    return measure_units(
        comm, model, rows, units, objective=objective, settings=settings, given=given
    )


def measure_units(
    comm: Comm,
    model: torch.nn.Module,
    rows: SplitRows,
    units: Int64,
    *,
    objective: Objective,
    settings: StepSettings,
    given: Mapping[str, float] = MappingProxyType({}),
) -> dict[str, float]:
    """The same over `units` [n] of `rows`, with what a preliminary pass has found."""
    layout = rows.sizes.lay_out(
        units, comm.world_size, settings.micro_batch_tokens, packing=settings.packing
    )
    module = LossModule(model, objective).eval()
    totals: dict[str, float] = {}
    counts: dict[str, float] = {}
    for chosen in layout[comm.rank]:
        if comm.agree_to_stop()[0]:
            raise StopRequestedError
        batch = make_batch(
            rows.split,
            units,
            chosen,
            packing=settings.packing,
            reference=rows.reference,
            prompts=objective.reads_prompts,
            given=given,
            facts=rows.facts,
        )
        with torch.no_grad(), computing(settings.precision, comm.device):
            _, sums = module(batch.to(comm.device), {})
        for name, count in objective.counts(batch).items():
            counts[name] = counts.get(name, 0) + count
            totals[name] = totals.get(name, 0.0) + float(sums[name])
    names = sorted(totals)
    summed = comm.sum([*(totals[n] for n in names), *(counts[n] for n in names)])
    return {
        name: total / count
        for name, total, count in zip(
            names, summed[: len(names)], summed[len(names) :], strict=True
        )
        if count
    }


def row_logprobs(
    model: torch.nn.Module,
    split: PreparedSplit,
    units: Int64,
    *,
    settings: StepSettings,
    device: torch.device,
    before_each: Callable[[], None],
) -> Float32:
    """Log-probability of the labels of each row of `units` (consecutive), in nats: [rows].

    `before_each` is called before every forward pass; what it raises ends the work.
    """
    model.eval()
    scorer = LabelScorer(model)
    first = int(split.unit_offsets[units[0]])
    found = np.zeros(int(split.unit_offsets[units[-1] + 1]) - first, np.float32)
    for batch, rows in _batches(split, units, settings):
        before_each()
        with torch.no_grad(), computing(settings.precision, device):
            found[rows - first] = scorer.row_logprobs(batch.to(device)).float().cpu().numpy()
    return found


def _batches(
    split: PreparedSplit, units: Int64, settings: StepSettings
) -> Iterator[tuple[MicroBatch, Int64]]:
    """(batch, its rows) over all `units`, on one rank."""
    (bins,) = UnitSizes.of(split).lay_out(
        units, 1, settings.micro_batch_tokens, packing=settings.packing
    )
    for chosen in bins:
        batch = make_batch(split, units, chosen, packing=settings.packing)
        yield batch, split.rows_of(units[chosen])
