"""Methods as pure losses; the engine wraps, steps, skips and saves.

A method is `loss(model, batch) -> {name: (sum, count)}`, called inside the module that DDP wraps,
whose parameters that train must all take part in every call.
"""

from collections.abc import Callable

import torch
from finetune_api.spec import Method

from finetune_trainer.engine.batches import MicroBatch
from finetune_trainer.methods import sft

Loss = Callable[[torch.nn.Module, MicroBatch], sft.Sums]


def loss_of(method: Method) -> tuple[Loss, str]:
    """The loss function of `method`, and the name of the sum that training minimises."""
    match method:
        case Method.SFT | Method.CPT:
            return sft.loss, sft.CROSS_ENTROPY
        case Method.DPO:
            raise NotImplementedError
