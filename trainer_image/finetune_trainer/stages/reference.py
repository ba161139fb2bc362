"""The reference pass: what the model says of every row before it is trained.

The rows' log-probabilities lie in the store in shards of a fixed size, so that a pass that was
interrupted goes on where it stopped, with any number of processes, and the next job on the same
data, model and precision finds them.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from finetune_api.errors import InfrastructureError
from finetune_api.hashing import canonical_digest
from finetune_api.progress import Stage
from finetune_api.reasons import Reason
from safetensors.numpy import load, save

from finetune_trainer.arrays import Float32
from finetune_trainer.engine.scoring import row_logprobs
from finetune_trainer.prepared import PreparedSplit
from finetune_trainer.stages.context import Run

_MOST_SHARDS = 64
_LEAST_UNITS = 16
_TENSOR = "logprobs"
_VERSION = 1
_SHARD_LIMIT = 2**30


@dataclass(frozen=True)
class _Shard:
    """A range of units of one split."""

    uri: str
    begin: int
    end: int


def reference_logprobs(
    run: Run, model: torch.nn.Module, splits: dict[str, PreparedSplit]
) -> dict[str, Float32]:
    """Log-probability of the labels of each row, [R] of each split; collective.

    `model` is the one that training starts from, untrained: it is its own reference.

    Raises InterruptedRunError between forward passes; what is done by then lies in the store.
    """
    run.enter(Stage.REFERENCE)
    folder = run.layout.reference(_key(run))
    shards = {name: list(_shards(f"{folder}/{name}", split)) for name, split in splits.items()}
    work = [(name, shard) for name, found in shards.items() for shard in found]
    done = set(run.comm.share("reference/done", _present(run, folder)))
    left = [(name, shard) for name, shard in work if shard.uri not in done]
    for number, (name, shard) in enumerate(left[run.comm.rank :: run.comm.world_size]):
        _compute(run, model, splits[name], shard)
        if run.progress is not None:
            run.progress.share_done(100 * (number + 1) * run.comm.world_size // len(left))
    run.comm.gather("reference/ended", value=True)
    return {name: _read(run, found, splits[name]) for name, found in shards.items()}


def _present(run: Run, folder: str) -> list[str]:
    """Shards that are there already; only rank 0 looks."""
    return [info.uri for info in run.store.list(folder)] if run.comm.is_first else []


def _key(run: Run) -> str:
    """What the log-probabilities depend on: not on how they are packed or shared out."""
    return canonical_digest(
        {
            "version": _VERSION,
            "data": run.data_hash,
            "start": run.start_digest,
            "precision": run.file.spec.training.precision,
            "torch": torch.__version__,
        }
    )


def _shards(folder: str, split: PreparedSplit) -> Iterator[_Shard]:
    """Equal ranges of units; how many depends on the split alone."""
    size = max(_LEAST_UNITS, -(-split.units // _MOST_SHARDS))
    for begin in range(0, split.units, size):
        end = min(begin + size, split.units)
        yield _Shard(f"{folder}/{begin:09d}-{end:09d}.safetensors", begin, end)


def _compute(run: Run, model: torch.nn.Module, split: PreparedSplit, shard: _Shard) -> None:
    found = row_logprobs(
        model,
        split,
        np.arange(shard.begin, shard.end),
        settings=run.scoring_settings(split),
        device=run.comm.device,
        before_each=run.comm.check_stop,
    )
    run.store.write(shard.uri, save({_TENSOR: found}))


def _read(run: Run, shards: Sequence[_Shard], split: PreparedSplit) -> Float32:
    found = [load(run.store.read(shard.uri, _SHARD_LIMIT))[_TENSOR] for shard in shards]
    values: Float32 = np.concatenate(found) if found else np.zeros(0, np.float32)
    if len(values) != len(split):
        raise InfrastructureError(
            Reason.STORAGE_UNAVAILABLE,
            f"the reference pass has {len(values)} rows, the data {len(split)}; delete the folder",
            where=shards[0].uri.rpartition("/")[0] if shards else None,
        )
    return values
