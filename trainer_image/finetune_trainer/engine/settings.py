"""What forward passes and steps need to know of the spec."""

from dataclasses import dataclass

import torch
from finetune_api.spec import CHOSEN_MICRO_BATCH_TOKENS, Precision, Training

MICRO_BATCH_TOKENS_CPU = 2048


class StopRequestedError(Exception):
    """A rank was asked to stop; the work under way was given up, on all ranks."""


@dataclass(frozen=True)
class StepSettings:
    """What a step needs to know of the spec."""

    seed: int
    micro_batch_tokens: int
    packing: bool
    max_grad_norm: float
    precision: Precision

    @classmethod
    def of(cls, training: Training, micro_batch_tokens: int) -> "StepSettings":
        """The settings of a resolved spec."""
        return cls(
            seed=training.seed,
            micro_batch_tokens=micro_batch_tokens,
            packing=training.packing,
            max_grad_norm=float(training.max_grad_norm),
            precision=training.precision,
        )


def chosen_micro_batch(longest_unit: int, device: torch.device) -> int:
    """Tokens of a forward pass where the job names none: room for the longest unit, and enough
    to keep the device busy."""
    usual = MICRO_BATCH_TOKENS_CPU if device.type == "cpu" else CHOSEN_MICRO_BATCH_TOKENS
    return max(longest_unit, usual)
