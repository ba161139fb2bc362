"""metrics.jsonl: one line for each step."""

import json
import math
from pathlib import Path
from typing import Any

from finetune_trainer.engine.step import StepResult


class MetricsLog:
    """The metrics of a run on this pod's disk; goes on from those of a checkpoint."""

    def __init__(self, path: Path, content: bytes = b"") -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
        self._path = path

    def append(self, step: int, epoch: float, result: StepResult, seconds: float) -> None:
        """Add the line of step `step`, counted from 1."""
        line = {
            "step": step,
            "epoch": round(epoch, 6),
            "loss": _finite(result.loss),
            "learning_rate": result.learning_rate,
            "grad_norm": _finite(result.grad_norm),
            "tokens": result.tokens,
            "label_tokens": result.labels,
            "tokens_per_second": round(result.tokens / max(seconds, 1e-9), 1),
            "skipped": result.skipped,
        }
        with self._path.open("a", encoding="utf-8") as file:
            file.write(json.dumps(line, allow_nan=False) + "\n")

    def content(self) -> bytes:
        """All lines so far."""
        return self._path.read_bytes()


def read_metrics(path: Path) -> list[dict[str, Any]]:
    """The lines of metrics.jsonl."""
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


def _finite(value: float) -> float | None:
    """JSON has no NaN."""
    return value if math.isfinite(value) else None
