"""What programs and people read about a result: report.json and loss.png."""

import json
from dataclasses import dataclass
from pathlib import Path

from finetune_api.manifest import Parent
from finetune_api.status import EvaluationStatus

from finetune_trainer.prepared import Prepared
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
        "data": prepared.metadata.counts.to_wire(),
        "evaluation": about.evaluation.to_wire() if about.evaluation else None,
        "steps": len(metrics.steps),
        "skippedSteps": sum(1 for line in metrics.steps if line["skipped"]),
        "tokens": sum(line["tokens"] for line in metrics.steps),
        "finalLoss": metrics.steps[-1]["loss"] if metrics.steps else None,
        "heldOut": metrics.evaluations,
        "notes": about.notes,
    }
    text = json.dumps(report, indent=1, ensure_ascii=False)
    (run.report_folder / REPORT_FILE).write_text(text, encoding="utf-8")
    _plot(metrics, run.report_folder / PLOT_FILE)


def _plot(metrics: Metrics, path: Path) -> None:
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(7, 4))
    FigureCanvasAgg(figure)
    axes = figure.add_subplot()
    lines = [line for line in metrics.steps if line["loss"] is not None]
    axes.plot([line["step"] for line in lines], [line["loss"] for line in lines], label="training")
    held_out = [
        (line["step"], line["evaluation"]["loss"])
        for line in metrics.evaluations
        if line["evaluation"]["loss"] is not None
    ]
    if held_out:
        axes.plot(*zip(*held_out, strict=True), marker="o", label="held-out rows")
        axes.legend()
    axes.set_xlabel("step")
    axes.set_ylabel("loss")
    axes.grid(visible=True, alpha=0.3)
    figure.savefig(path, dpi=120, bbox_inches="tight")
