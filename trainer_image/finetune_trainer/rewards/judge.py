"""Scores answers by a reward model, by rules, or by both."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from finetune_api.spec import RewardFunction

from finetune_trainer.arrays import Float32
from finetune_trainer.engine.distributed import Comm
from finetune_trainer.engine.settings import StepSettings
from finetune_trainer.online.rollouts import Rollouts
from finetune_trainer.rewards.functions import Answered, Score, score_of

MODEL = "rewardModel"
"""Name of the reward model's own score."""


@dataclass(frozen=True)
class Verdict:
    """What answers are worth."""

    total: Float32
    """[R]"""
    parts: Mapping[str, Float32]
    """Name -> [R] of the reward model and of each rule, before weights."""


class RightAnswers(Protocol):
    """What rows say that the answers should be."""

    def __getitem__(self, row: int) -> str:
        """That of a row; empty where it says nothing."""


class Scorer(Protocol):
    """Scores whole answers, as a reward model does."""

    def scores(self, comm: Comm, rollouts: Rollouts, settings: StepSettings, /) -> Float32:
        """[R] of each answer; collective, and the same on all ranks.

        Raises StopRequestedError on all ranks when one was asked to stop.
        """


class Judge:
    """Scores answers; the reward model's score and the rules' weighted ones are added up."""

    def __init__(
        self,
        decode: Callable[[Sequence[int]], str],
        model: Scorer | None,
        functions: Sequence[RewardFunction] = (),
    ) -> None:
        """`decode` gives the text of tokens, without special ones."""
        self.model = model
        self._decode = decode
        self._rules: list[tuple[str, float, Score]] = [
            (f"{function.type.value}{number}", float(function.weight or "1"), score_of(function))
            for number, function in enumerate(functions)
        ]

    def judge(
        self, comm: Comm, rollouts: Rollouts, wanted: RightAnswers | None, settings: StepSettings
    ) -> Verdict:
        """What all answers are worth; collective.

        Args:
            wanted: the right answer of each unit of the prompts' split, by its number; None
                where rows have none.

        Raises StopRequestedError on all ranks when one was asked to stop.
        """
        total = np.zeros(len(rollouts), np.float32)
        parts: dict[str, Float32] = {}
        if self.model is not None:
            parts[MODEL] = self.model.scores(comm, rollouts, settings)
            total += parts[MODEL]
        if not self._rules:
            return Verdict(total, parts)
        found = np.zeros((len(self._rules), len(rollouts)), np.float32)
        for row in range(comm.rank, len(rollouts), comm.world_size):
            answered = Answered(
                self._decode(rollouts.answer(row)),
                int(rollouts.lengths[row]),
                "" if wanted is None else wanted[int(rollouts.prompts[row])],
            )
            found[:, row] = [score(answered) for _, _, score in self._rules]
        found = comm.sum_array(found)
        for (name, weight, _), scores in zip(self._rules, found, strict=True):
            parts[name] = scores
            total += np.float32(weight) * scores
        return Verdict(total, parts)
