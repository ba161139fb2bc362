"""What a reward model's numbers mean: their mean and deviation, published beside the model."""

import json
import math
from pathlib import Path

import torch

from finetune_trainer.engine.interrupt import interrupted
from finetune_trainer.engine.scoring import measure_split
from finetune_trainer.engine.settings import StopRequestedError
from finetune_trainer.methods.reward import MEAN, MOMENTS, SQUARE
from finetune_trainer.prepared import Prepared
from finetune_trainer.stages.context import Run
from finetune_trainer.start_files import REWARD_FILE


def reward_scale(run: Run, model: torch.nn.Module, prepared: Prepared) -> dict[str, float | int]:
    """Mean and standard deviation of the rewards of all held-out answers, or of those of training
    where none is held out; collective. Raises InterruptedRunError."""
    split = prepared.evaluation if prepared.evaluation.units else prepared.train
    try:
        means = measure_split(
            run.comm, model, split, objective=MOMENTS, settings=run.scoring_settings(split)
        )
    except StopRequestedError as error:
        raise interrupted("what was trained is saved; the rewards are measured again") from error
    deviation = math.sqrt(max(0.0, means[SQUARE] - means[MEAN] ** 2))
    return {"mean": means[MEAN], "standardDeviation": deviation, "answers": len(split)}


def write_reward_scale(folder: Path, scale: dict[str, float | int]) -> None:
    """Put it beside the model or adapter in `folder`."""
    (folder / REWARD_FILE).write_text(json.dumps(scale, indent=1) + "\n", encoding="utf-8")
