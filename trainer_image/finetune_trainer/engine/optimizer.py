"""AdamW over the parameters that train."""

import torch
from finetune_api.spec import Training

from finetune_trainer.engine.model import trainable


def make_optimizer(model: torch.nn.Module, training: Training) -> torch.optim.AdamW:
    """AdamW (Loshchilov and Hutter 2019, algorithm 2) with torch's betas and epsilon.

    Weight decay falls on matrices only: norms and biases have no direction to shrink along.
    """
    parameters = [parameter for _, parameter in trainable(model)]
    matrices = [parameter for parameter in parameters if parameter.ndim >= 2]
    others = [parameter for parameter in parameters if parameter.ndim < 2]
    groups = [
        {"params": matrices, "weight_decay": float(training.weight_decay)},
        {"params": others, "weight_decay": 0.0},
    ]
    return torch.optim.AdamW([g for g in groups if g["params"]], lr=0.0, fused=True)


def set_rate(optimizer: torch.optim.Optimizer, rate: float) -> None:
    """Use learning rate `rate` in the next step."""
    for part in optimizer.param_groups:
        part["lr"] = rate
