"""Follows TRL's steps from inside: what they gave, whether they may count, and when to stop."""

import math
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from transformers import TrainerCallback

from finetune_trainer.engine.step import StepResult
from finetune_trainer.methods import dpo, grpo, ranking
from finetune_trainer.online.grpo import ANSWER_TOKENS
from finetune_trainer.progress import REWARD
from finetune_trainer.trl_engine.batches import Batch, labels_in, tokens_in

_OUR_NAMES = {
    "rewards/accuracies": ranking.ACCURACY,
    "rewards/margins": dpo.MARGIN,
    "rewards/chosen": dpo.CHOSEN,
    "rewards/rejected": dpo.REJECTED,
    "reward": REWARD,
    "kl": grpo.KL,
    "clip_ratio/region_mean": grpo.CLIPPED,
    "completions/mean_length": ANSWER_TOKENS,
}
"""TRL's name -> ours, of what both tell."""
AfterStep = Callable[[int, StepResult, float], None]
"""Gets (steps done, what the last one gave, its seconds)."""


class StepWatch(TrainerCallback):  # type: ignore[misc]
    """Between a trainer and the run that it belongs to."""

    def __init__(self, before_pass: Callable[[], None], after_step: AfterStep) -> None:
        self.before_pass = before_pass
        """Called before every forward pass; what it raises ends training."""
        self._after_step = after_step
        self._began = 0.0
        self._losses: list[torch.Tensor] = []
        self._tokens = self._labels = 0
        self._skipped = False

    def begin_step(self, batches: Sequence[Batch]) -> None:
        """A step over `batches` begins."""
        self._began = time.monotonic()
        self._losses = []
        self._tokens = sum(map(tokens_in, batches))
        self._labels = sum(map(labels_in, batches))

    def read(self, tokens: int, labels: int) -> None:
        """The step reads these too, which its batches did not hold."""
        self._tokens += tokens
        self._labels += labels

    def after_pass(self, loss: torch.Tensor) -> None:
        """A forward pass added `loss` to that of the step."""
        self._losses.append(loss)

    @property
    def _loss(self) -> float:
        return float(sum(self._losses))

    def on_pre_optimizer_step(
        self, _args: Any, _state: Any, _control: Any, *, optimizer: Any, **_: Any
    ) -> None:
        """Let a step whose loss or gradient is not finite move nothing: the optimizer passes
        parameters without a gradient over.

        Clipping came before, and leaves a gradient with an infinite or undefined norm undefined.
        """
        parameters = [p for group in optimizer.param_groups for p in group["params"]]
        gradients = [p.grad for p in parameters if p.grad is not None]
        norm = float(torch.nn.utils.get_total_norm(gradients))
        self._skipped = not (math.isfinite(norm) and math.isfinite(self._loss))
        if self._skipped:
            for parameter in parameters:
                parameter.grad = None

    def on_log(
        self, _args: Any, state: Any, _control: Any, *, logs: Mapping[str, float], **_: Any
    ) -> None:
        """Hand on what the step gave."""
        if "grad_norm" not in logs:
            return  # a summary after the last step
        result = StepResult(
            loss=self._loss,
            means={ours: logs[theirs] for theirs, ours in _OUR_NAMES.items() if theirs in logs},
            learning_rate=logs["learning_rate"],
            grad_norm=logs["grad_norm"],
            tokens=self._tokens,
            labels=self._labels,
            skipped=self._skipped,
        )
        self._after_step(state.global_step, result, time.monotonic() - self._began)
