"""A reward model as it is used: loaded, frozen, and its scores centred and scaled."""

import json
import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from finetune_api.spec import Adapter, AdapterType, Training

from finetune_trainer.engine.batches import Float32
from finetune_trainer.engine.distributed import Comm
from finetune_trainer.engine.model import Head, ModelSettings, load_model
from finetune_trainer.engine.settings import StepSettings
from finetune_trainer.engine.twins import share_equal_weights
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


def load_reward_model(
    base: Path,
    adapter: Path | None,
    training: Training,
    device: torch.device,
    tail: list[int],
    policy: torch.nn.Module,
) -> RewardModel:
    """The reward model of `base` and perhaps `adapter`, on the weights of `policy` where they are
    the same. Raises UserError MODEL_INVALID."""
    settings = ModelSettings(
        adapter=Adapter(type=AdapterType.LORA if adapter else AdapterType.NONE),
        precision=training.precision,
        gradient_checkpointing=False,
        seed=training.seed,
        head=Head.REWARD,
    )
    model = load_model(base, settings, device, adapter)
    model.requires_grad_(requires_grad=False)
    share_equal_weights(model, policy)
    return RewardModel(model.eval(), Scale.read(adapter or base), tail)
