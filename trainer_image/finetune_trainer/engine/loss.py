"""The module that DDP wraps: a model with its objective."""

from collections.abc import Mapping

import torch

from finetune_trainer.engine.batches import MicroBatch
from finetune_trainer.methods.objective import Objective


class LossModule(torch.nn.Module):
    """The model with its loss, so that DDP's hooks see the whole computation."""

    def __init__(self, model: torch.nn.Module, objective: Objective) -> None:
        super().__init__()
        self.model = model
        self._scorer = objective.scorer(model)
        self._objective = objective

    def forward(
        self, batch: MicroBatch, scales: Mapping[str, float]
    ) -> tuple[torch.Tensor, dict[str, torch.Tensor]]:
        """(sum over names of scale times sum: float32 [], every sum by name, detached)."""
        sums = self._objective.sums(self._scorer, batch)
        total = torch.zeros((), device=batch.input_ids.device)
        for name, scale in scales.items():
            total = total + scale * sums[name]
        return total, {name: value.detach() for name, value in sums.items()}
