"""Models that stand beside the one in training, and share the weights that no one trains.

A twin has modules of its own around the very tensors of the other model, so that several adapters
live on one base, each with its own forward pass, gradients and checkpointed activations.
"""

import copy
import re
from typing import TypeVar

import torch

Module = TypeVar("Module", bound=torch.nn.Module)
_WRAPPERS = re.compile(r"^base_model\.model\.|\.base_layer(?=\.)")


def frozen_twin(model: Module) -> Module:
    """What `model` is now: its frozen tensors are shared, those that train are copied and stay."""
    twin = twin_of(model)
    twin.requires_grad_(requires_grad=False)
    return twin.eval()


def twin_of(model: Module) -> Module:
    """The same with a copy of what trains, which trains too."""
    shared = [p for p in model.parameters() if not p.requires_grad]
    memo = {id(tensor): tensor for tensor in (*shared, *model.buffers())}
    return copy.deepcopy(model, memo)


def share_equal_weights(model: torch.nn.Module, other: torch.nn.Module) -> int:
    """Let `model` use the frozen tensors of `other` in place of its own where they are the same
    by name, type and every value; the bytes that this saves.

    Names are those in the Transformers model, whatever PEFT wraps around it.
    """
    theirs = {_plain(name): p for name, p in other.named_parameters() if not p.requires_grad}
    saved = 0
    for name, parameter in model.named_parameters():
        found = theirs.get(_plain(name))
        if parameter.requires_grad or found is None or found.dtype != parameter.dtype:
            continue
        if found.device == parameter.device and torch.equal(found, parameter):
            saved += parameter.numel() * parameter.element_size()
            parameter.data = found.data
    return saved


def _plain(name: str) -> str:
    return _WRAPPERS.sub("", name)
