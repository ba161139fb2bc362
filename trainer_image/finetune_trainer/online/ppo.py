"""PPO's part of a step: how much better each token did than the critic had foretold."""

from collections.abc import Mapping
from typing import Any

import numpy as np
from finetune_api.spec import KlController, Ppo

from finetune_trainer.arrays import Float32
from finetune_trainer.engine.distributed import Comm
from finetune_trainer.engine.settings import StepSettings
from finetune_trainer.engine.twins import frozen_twin
from finetune_trainer.methods import ppo
from finetune_trainer.methods.actor_critic import ActorCritic, ActorCriticScorer
from finetune_trainer.methods.scorer import LabelScorer
from finetune_trainer.online.engine import Experience
from finetune_trainer.online.generation import Sampling
from finetune_trainer.online.grpo import told_of
from finetune_trainer.online.rollouts import Rollouts, score_labels
from finetune_trainer.rewards.judge import Judge

KL, COEFFICIENT = "kl", "klCoefficient"


class ActorAndCritic:
    """PPO on a policy and its critic."""

    generations = 1

    def __init__(self, model: ActorCritic, settings: Ppo, sampling: Sampling, judge: Judge) -> None:
        """The policy of `model` is its own reference as it is now."""
        self.policy = model.policy
        self.objective = ppo.objective(settings)
        self.sampling = sampling
        self.passes = settings.epochs_per_batch
        self.parts = settings.minibatches
        self._model = model
        self._settings = settings
        self._judge = judge
        self._reference = LabelScorer(frozen_twin(model.policy))
        self._coefficient = float(settings.kl_coefficient)

    def learn(self, comm: Comm, rollouts: Rollouts, settings: StepSettings) -> Experience:
        """Rewards, advantages and values; see `online.engine.OnlineMethod`."""
        verdict = self._judge.judge(comm, rollouts, None, settings)
        old, reference, values = self._look(comm, rollouts, settings)
        offsets = rollouts.split.label_offsets
        penalty = np.float32(self._settings.missing_eos_penalty)
        scores = verdict.total - penalty * np.float32(~rollouts.finished)
        rewards = ppo.token_rewards(scores, old, reference, offsets[1:], self._coefficient)
        if self._settings.whiten_rewards:
            rewards = ppo.whiten(rewards, center=False)
        better = ppo.advantages(
            rewards,
            values,
            offsets,
            gamma=float(self._settings.gamma),
            decay=float(self._settings.lambda_),
        )
        returns = better + values
        divergence = _per_answer(old - reference, offsets)
        told = {
            **told_of(rollouts, verdict),
            KL: divergence,
            COEFFICIENT: self._coefficient,
            "rewardWithPenalties": float(scores.mean()) - self._coefficient * divergence,
            "entropy": float(-old.mean(dtype=np.float64)),
            "explainedVariance": ppo.explained_variance(values, returns),
            "value": float(values.mean(dtype=np.float64)),
        }
        facts = {
            ppo.ADVANTAGE: ppo.whiten(better),
            ppo.RETURN: returns,
            ppo.OLD: old,
            ppo.VALUE: values,
        }
        return Experience(rollouts, verdict.total, facts, told)

    def _look(
        self, comm: Comm, rollouts: Rollouts, settings: StepSettings
    ) -> tuple[Float32, Float32, Float32]:
        """Of each token: log-probability when it was drawn and under the reference, and value."""
        temperature = float(self._settings.temperature)
        scorer = ActorCriticScorer(self._model.eval())
        asked: list[Any] = [
            lambda batch: scorer.logprobs(batch, temperature),
            lambda batch: self._reference.logprobs(batch, temperature),
            scorer.values,
        ]
        old, reference, values = (
            score_labels(comm, rollouts.split, settings, compute) for compute in asked
        )
        return old, reference, values

    def end_step(self, experience: Experience) -> None:
        """Let the controller look at what the step learnt from."""
        target = self._settings.kl_target
        if self._settings.kl_controller is KlController.ADAPTIVE and target is not None:
            divergence = experience.told[KL]
            self._coefficient = ppo.next_coefficient(self._coefficient, divergence, float(target))

    def state(self) -> Mapping[str, float]:
        """The weight of the KL penalty."""
        return {COEFFICIENT: self._coefficient}

    def set_state(self, state: Mapping[str, float]) -> None:
        """Go on with the weight that `state` gave."""
        self._coefficient = state.get(COEFFICIENT, self._coefficient)


def _per_answer(values: Float32, offsets: Any) -> float:
    """Mean over answers of the sum over their tokens."""
    return float(values.sum(dtype=np.float64)) / (len(offsets) - 1)
