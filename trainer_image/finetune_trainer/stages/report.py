"""What people read about a result: report.json, loss.png and the model card."""

import json
from pathlib import Path

from finetune_api.spec import RowSource
from finetune_api.status import EvaluationStatus

from finetune_trainer.engine.mixture import train_sources
from finetune_trainer.prepared import Prepared
from finetune_trainer.stages.context import Run
from finetune_trainer.stages.metrics import Metrics, read_metrics

METRICS_FILE = "metrics.jsonl"
REPORT_FILE = "report.json"
PLOT_FILE = "loss.png"
CARD_FILE = "README.md"


def write_report(run: Run, prepared: Prepared, evaluation: EvaluationStatus | None) -> None:
    """Write report.json and loss.png beside metrics.jsonl."""
    metrics = read_metrics(run.report_folder / METRICS_FILE)
    report = {
        "job": run.file.job.to_wire(),
        "recipeHash": run.recipe_hash,
        "dataHash": run.data_hash,
        "spec": run.file.spec.to_wire(),
        "data": prepared.metadata.counts.to_wire(),
        "evaluation": evaluation.to_wire() if evaluation else None,
        "steps": len(metrics.steps),
        "skippedSteps": sum(1 for line in metrics.steps if line["skipped"]),
        "tokens": sum(line["tokens"] for line in metrics.steps),
        "finalLoss": metrics.steps[-1]["loss"] if metrics.steps else None,
        "heldOut": metrics.evaluations,
    }
    text = json.dumps(report, indent=1, ensure_ascii=False)
    (run.report_folder / REPORT_FILE).write_text(text, encoding="utf-8")
    _plot(metrics, run.report_folder / PLOT_FILE)


def write_card(run: Run, evaluation: EvaluationStatus | None) -> Path:
    """Write the model card; its path."""
    spec = run.file.spec
    base = spec.model.id or spec.model.uri
    front = ["---", f"base_model: {json.dumps(base)}"]
    front += [] if run.full_weights else ["library_name: peft"]
    front += ["tags: [finetune-operator, " + spec.method.value.lower() + "]", "---"]
    parts = [
        *front,
        "",
        f"# {run.file.job.name}",
        "",
        f"{spec.method.value} of `{base}` "
        + ("(full weights)." if run.full_weights else "(LoRA adapter)."),
        f"Licence of the base: {spec.model.license or 'not stated'}.",
        "",
        "## Load it",
        "",
        "```python",
        *_loading_lines(run, base),
        "```",
        "",
        "## Data",
        "",
        "| rows from | licence |",
        "|---|---|",
        *(_source_line(source) for source in train_sources(spec)),
        "",
        *_measurements(evaluation),
    ]
    path = run.work / "publish" / CARD_FILE
    path.write_text("\n".join(parts).rstrip() + "\n", encoding="utf-8")
    return path


def _loading_lines(run: Run, base: str) -> list[str]:
    folder = run.result_folder.name
    if run.full_weights:
        return [
            "from transformers import AutoModelForCausalLM, AutoTokenizer",
            f'model = AutoModelForCausalLM.from_pretrained("{folder}")',
            f'tokenizer = AutoTokenizer.from_pretrained("{folder}")',
        ]
    return [
        "from peft import PeftModel; from transformers import AutoModelForCausalLM, AutoTokenizer",
        f"model = PeftModel.from_pretrained(AutoModelForCausalLM.from_pretrained({base!r}), "
        f'"{folder}")',
        f'tokenizer = AutoTokenizer.from_pretrained("{folder}")',
    ]


def _source_line(source: RowSource) -> str:
    return f"| `{source.uri}` | {source.license or 'not stated'} |"


def _measurements(evaluation: EvaluationStatus | None) -> list[str]:
    if evaluation is None or evaluation.before is None or evaluation.after is None:
        return []
    before, after = evaluation.before, evaluation.after
    lines = [
        "## Before and after, on held-out rows",
        "",
        "| | before | after |",
        "|---|---|---|",
        f"| cross entropy, nats per label token | {before.cross_entropy} | {after.cross_entropy} |",
    ]
    if evaluation.question:
        lines += ["", "Question:", "", *_quote(evaluation.question)]
        for title, measured in (("Answer before", before), ("Answer after", after)):
            lines += ["", f"{title}:", "", *_quote(measured.answer or "")]
    return lines


def _quote(text: str) -> list[str]:
    return [f"> {line}" for line in text.splitlines() or [""]]


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
