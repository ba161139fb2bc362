"""A policy, its reference, and pairs of token ids."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from finetune_api.spec import Precision
from finetune_trainer.arrays import Float32
from finetune_trainer.engine.batches import MicroBatch
from finetune_trainer.engine.settings import StepSettings
from finetune_trainer.methods.objective import Objective
from finetune_trainer.prepared import PreparedSplit

PAIRS = 5
SETTINGS = StepSettings(
    seed=0, micro_batch_tokens=64, packing=True, max_grad_norm=1, precision=Precision.FP32
)
CPU = torch.device("cpu")


@dataclass(frozen=True)
class Models:
    folder: Path
    policy: Any
    reference: Any


TRL_OPTIONS: dict[str, Any] = {
    "report_to": [],
    "use_cpu": True,
    "bf16": False,
    "gradient_checkpointing": False,
}
"""What TRL's configurations need to train on a CPU and tell nobody."""


def split_of(
    rows: list[tuple[list[int], int]], *, rows_per_unit: int = 1, values: Float32 | None = None
) -> PreparedSplit:
    """A split of rows of (token ids, position of the first label)."""
    lengths = [len(ids) for ids, _ in rows]
    count = len(rows)
    return PreparedSplit(
        tokens=np.concatenate([np.array(ids, np.int32) for ids, _ in rows]),
        row_offsets=np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64),
        span_starts=np.array([start for _, start in rows], np.int32),
        span_ends=np.array(lengths, np.int32),
        span_offsets=np.arange(count + 1, dtype=np.int64),
        source_rows=np.arange(1, count + 1, dtype=np.int64),
        source_files=np.zeros(count, np.int32),
        group_ids=np.arange(count, dtype=np.int64),
        unit_offsets=np.arange(0, count + 1, rows_per_unit, dtype=np.int64),
        row_values=np.zeros(count, np.float32) if values is None else values,
    )


def pairs_of(rows: list[dict[str, list[int]]]) -> PreparedSplit:
    """Pairs from token ids: prompt_ids, chosen_ids, rejected_ids."""
    sides = [
        (row["prompt_ids"] + row[side], len(row["prompt_ids"]))
        for row in rows
        for side in ("chosen_ids", "rejected_ids")
    ]
    return split_of(sides, rows_per_unit=2)


def texts() -> list[dict[str, str]]:
    rng = np.random.default_rng(0)

    def words(least: int, most: int) -> str:
        return " ".join(f"w{n}" for n in rng.integers(4, 128, int(rng.integers(least, most))))

    return [
        {"prompt": words(3, 7), "chosen": f" {words(2, 9)}", "rejected": f" {words(2, 9)}"}
        for _ in range(PAIRS)
    ]


def random_pairs() -> PreparedSplit:
    rng = np.random.default_rng(3)

    def ids(least: int, most: int) -> list[int]:
        return [int(n) for n in rng.integers(4, 128, int(rng.integers(least, most)))]

    return pairs_of(
        [
            {"prompt_ids": ids(3, 7), "chosen_ids": ids(1, 9), "rejected_ids": ids(1, 9)}
            for _ in range(PAIRS)
        ]
    )


def loss_of(model: Any, batch: MicroBatch, objective: Objective) -> tuple[torch.Tensor, Any]:
    """(the loss that training minimises, every mean that the method tells)."""
    sums, counts = objective.sums(objective.scorer(model), batch), objective.counts(batch)
    means = {name: value / counts[name] for name, value in sums.items()}
    loss = sum((weight * means[n] for n, weight in objective.weights.items()), torch.zeros(()))
    return loss, means


def gradient_of(model: Any, loss: torch.Tensor) -> torch.Tensor:
    found = torch.autograd.grad(loss, list(model.parameters()), allow_unused=True)
    return torch.cat([g.flatten() for g in found if g is not None])
