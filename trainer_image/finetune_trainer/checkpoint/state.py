"""The state of an engine as named tensors, and back."""

from collections.abc import Iterator

import torch

from finetune_trainer.engine.model import trainable
from finetune_trainer.engine.update import Updater

PARAMETER = "parameter/"
MOMENTS = ("exp_avg", "exp_avg_sq")
Tensors = dict[str, torch.Tensor]


def capture(engine: Updater) -> Tensors:
    """Copies on the host: `parameter/NAME`, and `exp_avg/NAME`, `exp_avg_sq/NAME` once a step
    was applied."""
    tensors = {
        f"{PARAMETER}{name}": _host_copy(parameter) for name, parameter in trainable(engine.model)
    }
    if engine.applied:
        for name, parameter in trainable(engine.model):
            state = engine.optimizer.state[parameter]
            tensors.update({f"{m}/{name}": _host_copy(state[m]) for m in MOMENTS})
    return tensors


def restore(engine: Updater, tensors: Tensors | None, *, applied: int) -> None:
    """Put parameters and moments where they were after `applied` updates; collective.

    Rank 0 gives the tensors, the other ranks None.
    """
    engine.applied = applied
    restore_parameters(engine, tensors)
    engine.optimizer.state.clear()
    if not applied:
        return
    for name, parameter in trainable(engine.model):
        state = {moment: torch.zeros_like(parameter) for moment in MOMENTS}
        _fill(tensors, ((f"{moment}/{name}", state[moment]) for moment in MOMENTS))
        engine.comm.broadcast(state.values())
        count = torch.tensor(float(applied), device=parameter.device)
        engine.optimizer.state[parameter] = {"step": count, **state}


def restore_parameters(engine: Updater, tensors: Tensors | None) -> None:
    """Put only the parameters back; collective, arguments as of `restore`."""
    _fill(tensors, ((f"{PARAMETER}{n}", p.data) for n, p in trainable(engine.model)))
    engine.comm.broadcast(parameter.data for _, parameter in trainable(engine.model))


def fits(engine: Updater, tensors: Tensors, *, applied: int) -> bool:
    """Whether `tensors` are a state of this engine: the same names and shapes."""
    shapes = {f"{PARAMETER}{name}": p.shape for name, p in trainable(engine.model)}
    if applied:
        shapes |= {f"{m}/{name}": p.shape for name, p in trainable(engine.model) for m in MOMENTS}
    return {name: tensor.shape for name, tensor in tensors.items()} == shapes


def _fill(tensors: Tensors | None, targets: Iterator[tuple[str, torch.Tensor]]) -> None:
    if tensors is not None:
        for name, target in targets:
            target.copy_(tensors[name])


def _host_copy(tensor: torch.Tensor) -> torch.Tensor:
    return tensor.detach().to("cpu", copy=True).contiguous()
