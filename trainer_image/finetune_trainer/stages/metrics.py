"""metrics.jsonl: one line for each step, for each evaluation between steps, and for some of the
answers that a model writes while it is trained."""

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
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
        if len(result.means) > 1:
            line |= {name: _finite(value) for name, value in result.means.items()}
        self._write(line)

    def append_evaluation(self, step: int, epoch: float, means: Mapping[str, float]) -> None:
        """Add the line of an evaluation on held-out rows after `step` steps."""
        found = {name: _finite(value) for name, value in means.items()}
        self._write({"step": step, "epoch": round(epoch, 6), "evaluation": found})

    def append_answers(self, step: int, epoch: float, answers: Sequence[Mapping[str, Any]]) -> None:
        """Add some of the answers that the model wrote in step `step`."""
        self._write({"step": step, "epoch": round(epoch, 6), "answers": list(answers)})

    def _write(self, line: dict[str, Any]) -> None:
        with self._path.open("a", encoding="utf-8") as file:
            file.write(json.dumps(line, allow_nan=False) + "\n")

    def content(self) -> bytes:
        """All lines so far."""
        return self._path.read_bytes()


@dataclass(frozen=True)
class Metrics:
    """The lines of metrics.jsonl."""

    steps: list[dict[str, Any]]
    """One for each optimizer step."""
    evaluations: list[dict[str, Any]]
    """One for each evaluation on held-out rows: step, epoch, evaluation (name -> mean)."""
    answers: list[dict[str, Any]]
    """One for each step whose answers are shown: step, epoch, answers (prompt, answer, reward)."""


def read_metrics(path: Path) -> Metrics:
    """What metrics.jsonl says."""
    lines = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
    return Metrics(
        steps=[line for line in lines if not line.keys() & {"evaluation", "answers"}],
        evaluations=[line for line in lines if "evaluation" in line],
        answers=[line for line in lines if "answers" in line],
    )


def _finite(value: float) -> float | None:
    """JSON has no NaN."""
    return value if math.isfinite(value) else None
