"""What programs and people read about a result: report.json and loss.png."""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from finetune_api.manifest import Parent
from finetune_api.status import EvaluationStatus

from finetune_trainer.prepared import Prepared
from finetune_trainer.progress import REWARD
from finetune_trainer.stages.context import Run
from finetune_trainer.stages.metrics import Metrics, read_metrics

METRICS_FILE = "metrics.jsonl"
REPORT_FILE = "report.json"
PLOT_FILE = "loss.png"


@dataclass(frozen=True)
class About:
    """What is told of a result beside its numbers."""

    base: str
    """Name of the base that it belongs to."""
    base_uri: str
    """Folder of that base."""
    evaluation: EvaluationStatus | None
    notes: list[str]
    """What to know before serving it."""
    parents: list[Parent]
    """Jobs whose results it was made from."""
    reward_parents: list[Parent]
    """Those behind the reward model."""
    reward_model: str | None
    """Folder of the adapter or model that scored answers."""
    started_from: str | None
    """Folder of the adapter that training started from."""


def write_report(run: Run, prepared: Prepared, about: About) -> None:
    """Write report.json and loss.png beside metrics.jsonl."""
    metrics = read_metrics(run.report_folder / METRICS_FILE)
    report = {
        "job": run.file.job.to_wire(),
        "recipeHash": run.recipe_hash,
        "dataHash": run.data_hash,
        "spec": run.file.spec.to_wire(),
        "base": about.base_uri,
        "startAdapter": about.started_from,
        "parents": [parent.to_wire() for parent in about.parents],
        "rewardModel": about.reward_model,
        "rewardParents": [parent.to_wire() for parent in about.reward_parents],
        "data": prepared.metadata.counts.to_wire(),
        "evaluation": about.evaluation.to_wire() if about.evaluation else None,
        "steps": len(metrics.steps),
        "skippedSteps": sum(1 for line in metrics.steps if line["skipped"]),
        "tokens": sum(line["tokens"] for line in metrics.steps),
        "finalLoss": metrics.steps[-1]["loss"] if metrics.steps else None,
        "heldOut": metrics.evaluations,
        "answers": metrics.answers,
        "notes": about.notes,
    }
    text = json.dumps(report, indent=1, ensure_ascii=False)
    (run.report_folder / REPORT_FILE).write_text(text, encoding="utf-8")
    _plot(metrics, run.report_folder / PLOT_FILE)


def _plot(metrics: Metrics, path: Path) -> None:
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    online = any(REWARD in line for line in metrics.steps)
    figure = Figure(figsize=(7, 7 if online else 4))
    FigureCanvasAgg(figure)
    panels = figure.subplots(2 if online else 1, sharex=True, squeeze=False)[:, 0]
    if online:
        _draw(panels[0], metrics, REWARD, "mean reward of the step's answers")
    _draw(panels[-1], metrics, "loss", "loss")
    panels[-1].set_xlabel("step")
    figure.savefig(path, dpi=120, bbox_inches="tight")


def _draw(axes: Any, metrics: Metrics, name: str, label: str) -> None:
    """One number over the steps, and between them on held-out rows."""
    points = [(line["step"], line[name]) for line in metrics.steps if line.get(name) is not None]
    axes.plot([step for step, _ in points], [value for _, value in points], label="training")
    held_out = [
        (line["step"], line["evaluation"][name])
        for line in metrics.evaluations
        if line["evaluation"].get(name) is not None
    ]
    if held_out:
        axes.plot(*zip(*held_out, strict=True), marker="o", label="held-out rows")
        axes.legend()
    axes.set_ylabel(label)
    axes.grid(visible=True, alpha=0.3)
