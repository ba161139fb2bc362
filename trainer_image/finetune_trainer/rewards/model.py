"""A reward model as it is used: loaded, frozen, and its scores centred and scaled."""

import json
import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from finetune_api.spec import Adapter, Method, Training

from finetune_trainer.arrays import Float32
from finetune_trainer.engine.distributed import Comm
from finetune_trainer.engine.model import ModelSettings, load_model, load_scoring_base
from finetune_trainer.engine.settings import StepSettings
from finetune_trainer.engine.twins import frozen_twin, share_equal_weights
from finetune_trainer.methods.scorer import LabelScorer
from finetune_trainer.online.rollouts import Rollouts, score_rows
from finetune_trainer.start_files import REWARD_FILE


@dataclass(frozen=True)
class Scale:
    """What a reward model's numbers mean."""

    mean: float = 0.0
    deviation: float = 1.0

    @classmethod
    def read(cls, folder: Path) -> "Scale":
        """What was published beside the reward model in `folder`; 0 and 1 where nothing was."""
        path = folder / REWARD_FILE
        if not path.exists():
            return cls()
        told = json.loads(path.read_text(encoding="utf-8"))
        mean, deviation = float(told["mean"]), float(told["standardDeviation"])
        usable = math.isfinite(deviation) and deviation > 0
        return cls(mean, deviation if usable else 1.0)


@dataclass(frozen=True)
class RewardFiles:
    """A reward model on this machine."""

    base: Path
    """A model that scores, or the base of an adapter that does."""
    adapter: Path | None
    tail: list[int]
    """What the chat template writes behind a finished answer."""

    @property
    def scale(self) -> Scale:
        """What its numbers mean."""
        return Scale.read(self.adapter or self.base)


@dataclass(frozen=True)
class RewardModel:
    """Scores whole answers."""

    model: Any
    """A frozen Transformers model for sequence classification, perhaps with an adapter."""
    scale: Scale
    tail: list[int]
    """What the chat template writes behind a finished answer: the model was trained to read it."""

    def scores(self, comm: Comm, rollouts: Rollouts, settings: StepSettings) -> Float32:
        """[R] of each answer, centred and scaled; collective.

        Raises StopRequestedError on all ranks when one was asked to stop.
        """
        rows = rollouts.with_tail(self.tail)
        raw = score_rows(comm, rows, settings, LabelScorer(self.model).row_rewards)
        scaled: Float32 = (raw - self.scale.mean) / self.scale.deviation
        return scaled


@dataclass(frozen=True)
class Critic:
    """A model that starts as the reward model and is trained to foretell its scores."""

    model: Any
    scale: Scale


def load_reward_model(
    files: RewardFiles, training: Training, device: torch.device, policy: torch.nn.Module
) -> RewardModel:
    """The reward model, frozen, on the weights of `policy` where they are the same.

    Raises UserError MODEL_INVALID.
    """
    if files.adapter is not None:
        model = _trainable(files, Adapter(), training, device)
    else:
        model = load_scoring_base(files.base, training.precision, device)
    model.requires_grad_(requires_grad=False)
    share_equal_weights(model, policy)
    return RewardModel(model.eval(), files.scale, files.tail)


def load_critic(
    files: RewardFiles,
    adapter: Adapter,
    training: Training,
    device: torch.device,
    policy: torch.nn.Module,
) -> tuple[RewardModel, Critic]:
    """The reward model, and the critic that starts from it: its adapter is trained further; a
    reward model without one is trained as the policy is, by `adapter` (settled).

    Raises UserError MODEL_INVALID.
    """
    model = _trainable(files, adapter, training, device)
    share_equal_weights(model, policy)
    reward = RewardModel(frozen_twin(model), files.scale, files.tail)
    return reward, Critic(model, files.scale)


def _trainable(files: RewardFiles, adapter: Adapter, training: Training, device: Any) -> Any:
    settings = ModelSettings.of(adapter, training, Method.REWARD)
    return load_model(files.base, settings, device, files.adapter)
