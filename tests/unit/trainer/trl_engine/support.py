"""Rows that a model can learn, and jobs that TRL trains on them."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from finetune_trainer.prepared import PreparedSplit
from finetune_trainer.stages.metrics import read_metrics

from tests.unit.trainer.engine_support import VOCABULARY, Sandbox, make_prepared, make_prompts
from tests.unit.trainer.test_adapter_runs import Ran, run_job

TRL: dict[str, Any] = {"engine": "TRL", "packing": False}
LORA = {"type": "LoRA", "rank": 4}


def counting(rows: int, *, seed: int, pairs: bool = False) -> PreparedSplit:
    """Rows that count up by one, 4 to 20 tokens long; the rejected row of a pair stays where it
    began. The first two tokens are the prompt."""
    rng = np.random.default_rng(seed)
    tokens: list[list[int]] = []
    for _ in range(rows):
        first = int(rng.integers(4, VOCABULARY - 20))
        tokens.append(list(range(first, first + int(rng.integers(4, 21)))))
        if pairs:
            tokens.append([first, first + 1, *[first] * int(rng.integers(2, 18))])
    lengths = np.array([len(row) for row in tokens], np.int64)
    count = len(tokens)
    return PreparedSplit(
        tokens=np.concatenate(tokens).astype(np.int32),
        row_offsets=np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64),
        span_starts=np.full(count, 2, np.int32),
        span_ends=lengths.astype(np.int32),
        span_offsets=np.arange(count + 1, dtype=np.int64),
        source_rows=np.arange(1, count + 1, dtype=np.int64),
        source_files=np.zeros(count, np.int32),
        group_ids=np.arange(count, dtype=np.int64),
        unit_offsets=np.arange(0, count + 1, 2 if pairs else 1, dtype=np.int64),
        row_values=np.zeros(count, np.float32),
    )


def judged(split: PreparedSplit, method: str) -> PreparedSplit:
    """`split` with what people say of its rows."""
    said = {"KTO": [1, 1, 0], "Reward": [1, 0]}[method]
    return replace(split, row_values=np.resize(np.array(said, np.float32), len(split)))


def make_sandbox(root: Path, *, method: str = "SFT") -> Sandbox:
    """A sandbox with 42 units of such rows, and 8 held-out ones."""
    sandbox = Sandbox.make(root)
    pairs = method in ("DPO", "Reward")
    if method == "GRPO":
        make_prepared(root / "prepared", make_prompts(42, seed=1), make_prompts(8, seed=9))
        return sandbox
    train, held_out = counting(42, seed=1, pairs=pairs), counting(8, seed=9, pairs=pairs)
    partners = None
    if method in ("KTO", "Reward"):
        train, held_out = judged(train, method), judged(held_out, method)
    if method == "KTO":
        partners = (counting(42, seed=3), counting(8, seed=4))
    make_prepared(root / "prepared", train, held_out, partners)
    return sandbox


def run_trl(sandbox: Sandbox, name: str, adapter: dict[str, Any], *start: Path, **spec: Any) -> Ran:
    """Run a job of TRL in this process; `training` may be given in part."""
    training = {"gradientCheckpointing": False, "maxSteps": 3} | spec.pop("training", {})
    if "epochs" in training:
        del training["maxSteps"]
    return run_job(sandbox, name, adapter, *start, training=training | TRL, **spec)


def steps_of(ran: Ran) -> list[dict[str, Any]]:
    """The lines of metrics.jsonl that tell of steps."""
    return read_metrics(ran.run / "report/metrics.jsonl").steps
