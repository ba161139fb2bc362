"""A batch of answers that the model wrote, as rows that can be trained on."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import torch

from finetune_trainer.arrays import Bool, Float32, Int64
from finetune_trainer.data.table import UnitTable
from finetune_trainer.engine.batches import MicroBatch, make_batch
from finetune_trainer.engine.distributed import Comm
from finetune_trainer.engine.model import computing
from finetune_trainer.engine.scoring import SplitRows
from finetune_trainer.engine.settings import StepSettings, StopRequestedError
from finetune_trainer.online.generation import Sampling, write_answers
from finetune_trainer.prepared import PreparedSplit


@dataclass(frozen=True)
class Rollouts:
    """R answers; those to one prompt lie next to each other."""

    split: PreparedSplit
    """Prompt and answer of each; the answer's tokens are the labels. A unit is an answer."""
    prompts: Int64
    """[R] unit of the prompts' split that each answers."""
    finished: Bool
    """[R] whether the answer ends by itself, rather than where its room does."""

    @classmethod
    def of(
        cls,
        prompts: PreparedSplit,
        units: Int64,
        answers: Sequence[Sequence[int]],
        sampling: Sampling,
    ) -> "Rollouts":
        """`answers` [R], each to one of `prompts`: that of `units` [R]."""
        table = UnitTable()
        for place, (unit, answer) in enumerate(zip(units.tolist(), answers, strict=True)):
            prompt = prompts.row(unit)[0].tolist()
            row = [*prompt, *answer]
            table.add([(row, [(len(prompt), len(row))])], file=0, row=place, group=unit)
        finished = [answer[-1] in sampling.eos_ids for answer in answers]
        return cls(table.to_split(), units, np.array(finished, np.bool_))

    def __len__(self) -> int:
        """R."""
        return len(self.prompts)

    @property
    def lengths(self) -> Int64:
        """[R] tokens of each answer."""
        return self.split.label_counts

    def prompt(self, row: int) -> list[int]:
        """Tokens of the prompt that an answer follows."""
        tokens, spans = self.split.row(row)
        return [int(token) for token in tokens[: spans[0][0]]]

    def answer(self, row: int) -> list[int]:
        """Tokens of an answer, the one that ends it included."""
        tokens, spans = self.split.row(row)
        return [int(token) for token in tokens[spans[0][0] :]]

    def with_tail(self, tail: list[int]) -> PreparedSplit:
        """The rows, with `tail` behind the answers that are finished."""
        table = UnitTable()
        for row in range(len(self)):
            tokens, spans = self.split.row(row)
            ids = [*tokens.tolist(), *(tail if self.finished[row] else [])]
            table.add([(ids, [tuple(spans[0].tolist())])], file=0, row=row, group=row)
        return table.to_split()

    def spread(self, values: Float32) -> Float32:
        """`values` [R] for each label of their answer: [labels]."""
        return np.repeat(values, self.lengths).astype(np.float32)


def roll_out(
    comm: Comm,
    model: torch.nn.Module,
    prompts: PreparedSplit,
    units: Int64,
    sampling: Sampling,
    *,
    generations: int,
    settings: StepSettings,
) -> Rollouts:
    """`generations` answers of `model` to each of the prompts `units` [n]; collective, and the
    same on all ranks.

    Raises StopRequestedError on all ranks when one was asked to stop.
    """
    wanted = np.repeat(units, generations)
    mine = range(comm.rank, len(wanted), comm.world_size)
    answers = write_answers(
        model,
        [prompts.row(int(wanted[place]))[0] for place in mine],
        sampling,
        comm=comm,
        precision=settings.precision,
        micro_batch_tokens=settings.micro_batch_tokens,
    )
    if comm.agree_to_stop()[0]:
        raise StopRequestedError
    told = [n for place, a in zip(mine, answers, strict=True) for n in (place, len(a), *a)]
    found: dict[int, list[int]] = {}
    for array in comm.gather_array(np.array(told, np.int64)):
        found |= _parsed(array.tolist())
    return Rollouts.of(prompts, wanted, [found[n] for n in range(len(wanted))], sampling)


def _parsed(numbers: list[int]) -> dict[int, list[int]]:
    """Place -> answer, from place, length and tokens of each."""
    found = {}
    position = 0
    while position < len(numbers):
        place, size = numbers[position : position + 2]
        found[place] = numbers[position + 2 : position + 2 + size]
        position += 2 + size
    return found


def score_labels(
    comm: Comm,
    split: PreparedSplit,
    settings: StepSettings,
    compute: Callable[[MicroBatch], torch.Tensor],
) -> Float32:
    """What `compute` gives each label, [labels of the split], worked out by all ranks together.

    Raises StopRequestedError on all ranks when one was asked to stop.
    """
    return _score(comm, split, settings, compute, split.labels_of, int(split.label_offsets[-1]))


def score_rows(
    comm: Comm,
    split: PreparedSplit,
    settings: StepSettings,
    compute: Callable[[MicroBatch], torch.Tensor],
) -> Float32:
    """The same for what `compute` gives each row: [R]."""
    return _score(comm, split, settings, compute, lambda rows: rows, len(split))


def _score(
    comm: Comm,
    split: PreparedSplit,
    settings: StepSettings,
    compute: Callable[[MicroBatch], torch.Tensor],
    places: Callable[[Int64], Int64],
    size: int,
) -> Float32:
    units = np.arange(split.units)
    capacity = max(settings.micro_batch_tokens, int(split.unit_lengths.max()))
    layout = SplitRows(split).sizes.lay_out(
        units, comm.world_size, capacity, packing=settings.packing
    )
    found = np.zeros(size, np.float32)
    for chosen in layout[comm.rank]:
        if comm.agree_to_stop()[0]:
            raise StopRequestedError
        if not chosen:
            continue
        batch = make_batch(split, units, chosen, packing=settings.packing)
        with torch.no_grad(), computing(settings.precision, comm.device):
            values = compute(batch.to(comm.device)).float().cpu().numpy()
        found[places(split.rows_of(units[chosen]))] = values
    return comm.sum_array(found)
