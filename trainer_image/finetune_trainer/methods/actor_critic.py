"""A policy with the critic that foretells what its answers will be worth."""

from typing import Any

import torch

from finetune_trainer.engine.batches import MicroBatch
from finetune_trainer.methods.scorer import LabelScorer


class ActorCritic(torch.nn.Module):
    """Two models that train together."""

    def __init__(
        self, policy: torch.nn.Module, critic: torch.nn.Module, mean: float, deviation: float
    ) -> None:
        """`critic` is a model with a reward head, whose numbers are centred by `mean` and scaled by
        `deviation`."""
        super().__init__()
        self.policy = policy
        self.critic = critic
        self.mean = mean
        self.deviation = deviation


class ActorCriticScorer(LabelScorer):
    """Log-probabilities of the policy, and values of the critic."""

    def __init__(self, model: Any) -> None:
        super().__init__(model.policy)
        self._actor_critic = model
        self._critic = LabelScorer(model.critic)

    def values(self, batch: MicroBatch) -> torch.Tensor:
        """Value of the text before each label: float32 [L]."""
        raw = self._critic.label_rewards(batch)
        values: torch.Tensor = (raw - self._actor_critic.mean) / self._actor_critic.deviation
        return values
