"""Supervised fine-tuning: cross entropy of the label tokens."""

import inspect
from typing import Any

import torch
from torch.nn import functional

from finetune_trainer.engine.batches import MicroBatch

CROSS_ENTROPY = "crossEntropy"

Sums = dict[str, tuple[torch.Tensor, int]]
"""Name -> (sum over the micro-batch, number of things summed)."""


def loss(model: torch.nn.Module, batch: MicroBatch) -> Sums:
    """Sum of -log p(token | tokens before it in its row) over the label tokens, in nats.

    A dummy batch has no labels; its sum is 0 and still reaches every parameter that trains.
    """
    logits = label_logits(model, batch)
    targets = batch.targets.flatten()[batch.label_positions]
    total = functional.cross_entropy(logits.float(), targets, reduction="sum")
    return {CROSS_ENTROPY: (total, batch.labels)}


def label_logits(model: torch.nn.Module, batch: MicroBatch) -> torch.Tensor:
    """Logits at the positions that predict a label: [L, vocabulary].

    The head runs only there where the architecture allows it: prompts cost no vocabulary-wide
    product.
    """
    arguments = {
        "input_ids": batch.input_ids,
        "position_ids": batch.position_ids,
        "attention_mask": batch.attention_mask,
        "use_cache": False,
    }
    if batch.attention_mask is None and _keeps_chosen_logits(model):
        output = model(**arguments, logits_to_keep=batch.label_positions)
        return torch.as_tensor(output.logits[0])
    logits = model(**arguments).logits
    return torch.as_tensor(logits.flatten(0, 1)[batch.label_positions])


def _keeps_chosen_logits(model: torch.nn.Module) -> bool:
    wrapper: Any = model
    base = wrapper.get_base_model() if hasattr(model, "get_base_model") else model
    return "logits_to_keep" in inspect.signature(base.forward).parameters
