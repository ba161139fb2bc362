"""GRPO's part of a step: which answers are better than others to their prompt."""

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType

import numpy as np
import torch
from finetune_api.spec import Grpo

from finetune_trainer.arrays import Float32
from finetune_trainer.engine.distributed import Comm
from finetune_trainer.engine.settings import StepSettings
from finetune_trainer.engine.twins import frozen_twin
from finetune_trainer.methods import grpo
from finetune_trainer.methods.objective import Objective
from finetune_trainer.methods.scorer import LabelScorer
from finetune_trainer.online.engine import Experience
from finetune_trainer.online.generation import Sampling
from finetune_trainer.online.rollouts import Rollouts, score_labels
from finetune_trainer.progress import REWARD
from finetune_trainer.rewards.judge import Judge, RightAnswers, Verdict

ANSWER_TOKENS, MISSING_EOS = "answerTokens", "missingEos"
"""Names in metrics: mean length, and share of answers that were cut."""


@dataclass(frozen=True)
class GroupRelative:
    """GRPO on one policy."""

    policy: torch.nn.Module
    objective: Objective
    sampling: Sampling
    settings: Grpo
    judge: Judge
    wanted: RightAnswers | None
    """Right answers of the training prompts."""
    reference: LabelScorer | None
    """The policy as it was before training; None where it has no weight."""

    @classmethod
    def begin(
        cls,
        policy: torch.nn.Module,
        settings: Grpo,
        sampling: Sampling,
        judge: Judge,
        wanted: RightAnswers | None,
    ) -> "GroupRelative":
        """GRPO of `policy`, which is its own reference as it is now."""
        reference = LabelScorer(frozen_twin(policy)) if float(settings.beta) else None
        objective = grpo.objective(settings)
        return cls(policy, objective, sampling, settings, judge, wanted, reference)

    @property
    def generations(self) -> int:
        """Answers to each prompt."""
        return self.settings.generations

    @property
    def passes(self) -> int:
        """Updates on each batch of answers."""
        return self.settings.iterations

    @property
    def parts(self) -> int:
        """Every update reads all answers."""
        return 1

    def learn(self, comm: Comm, rollouts: Rollouts, settings: StepSettings) -> Experience:
        """Rewards, advantages and log-probabilities; see `online.engine.OnlineMethod`."""
        verdict = self.judge.judge(comm, rollouts, self.wanted, settings)
        temperature = float(self.settings.temperature)
        better = grpo.advantages(verdict.total, self.generations, scale=self.settings.scale_rewards)
        facts = {grpo.ADVANTAGE: rollouts.spread(better)}
        if self.passes > 1:
            scorer = LabelScorer(self.policy.eval())
            facts[grpo.OLD] = score_labels(
                comm, rollouts.split, settings, lambda batch: scorer.logprobs(batch, temperature)
            )
        reference = self.reference
        if reference is not None:
            facts[grpo.REFERENCE] = score_labels(
                comm, rollouts.split, settings, lambda batch: reference.logprobs(batch, temperature)
            )
        told = {
            **told_of(rollouts, verdict),
            "flatGroups": float(grpo.flat_groups(verdict.total, self.generations)),
        }
        return Experience(rollouts, verdict.total, facts, told)

    def end_step(self, experience: Experience) -> None:
        """Every step is like the others."""

    def state(self) -> Mapping[str, float]:
        """Nothing outlives a step but the parameters."""
        return MappingProxyType({})

    def set_state(self, state: Mapping[str, float]) -> None:
        """There is none."""


def told_of(rollouts: Rollouts, verdict: Verdict) -> dict[str, float]:
    """What metrics tell of a batch of answers."""
    return {
        REWARD: _mean(verdict.total),
        "rewardDeviation": float(verdict.total.std()),
        **{f"reward/{name}": _mean(scores) for name, scores in verdict.parts.items()},
        ANSWER_TOKENS: float(rollouts.lengths.mean()),
        MISSING_EOS: float(1 - rollouts.finished.mean()),
    }


def _mean(values: Float32) -> float:
    return float(np.mean(values, dtype=np.float64))
