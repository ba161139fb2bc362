"""The model card: README.md of a run, with the lines of Python that load its result."""

import json
from pathlib import Path

from finetune_api.spec import Method, RowSource
from finetune_api.status import EvaluationStatus

from finetune_trainer.engine.mixture import train_sources
from finetune_trainer.stages.context import Run
from finetune_trainer.stages.report import About
from finetune_trainer.start_files import REWARD_FILE
from finetune_trainer.storage.addresses import file_path, scheme_of

CARD_FILE = "README.md"


def write_card(run: Run, about: About) -> Path:
    """Write the model card; its path."""
    spec = run.file.spec
    front = ["---", f"base_model: {json.dumps(about.base)}"]
    front += [] if run.full_weights else ["library_name: peft"]
    front += ["tags: [finetune-operator, " + spec.method.value.lower() + "]", "---"]
    parts = [
        *front,
        "",
        f"# {run.file.job.name}",
        "",
        f"{spec.method.value} of `{about.base}` "
        + ("(full weights)." if run.full_weights else "(adapter)."),
        *([f"Started from the adapter `{about.started_from}`."] if about.started_from else []),
        *([f"Answers were scored by `{about.reward_model}`."] if about.reward_model else []),
        f"Licence of the base: {spec.model.license or 'not stated'}.",
        "",
        "## Load it",
        "",
        *_loading(run, about),
        *_section("## Before serving it", [f"- {note}" for note in about.notes]),
        "## Data",
        "",
        "| rows from | for | licence |",
        "|---|---|---|",
        *(_source_line(source, "training") for source in train_sources(spec)),
        *(_source_line(source, "measuring") for source in spec.data.evaluation or []),
        "",
        *_measurements(about.evaluation, is_reward=spec.method is Method.REWARD),
    ]
    path = run.work / "publish" / CARD_FILE
    path.write_text("\n".join(parts).rstrip() + "\n", encoding="utf-8")
    return path


def _loading(run: Run, about: About) -> list[str]:
    """What loads the result, for someone whose working directory is the run's folder."""
    whole = _whole_model(run)
    if run.full_weights:
        return ["In this folder:", "", *_code(whole), *_scoring(run, _MODEL)]
    base, hint = _base_argument(run, about)
    kind, options = _kind(run)
    lines = [
        f"from peft import PeftModel; from transformers import {kind}, AutoTokenizer",
        f'model = PeftModel.from_pretrained({kind}.from_pretrained({base}{options}), "{_ADAPTER}")',
        f'tokenizer = AutoTokenizer.from_pretrained("{_ADAPTER}")',
    ]
    text = [f"In this folder{hint}:", "", *_code(lines)]
    if run.file.spec.output.merged:
        text += ["Or, with the adapter merged into the base:", "", *_code(whole)]
    return [*text, *_scoring(run, _ADAPTER)]


def _kind(run: Run) -> tuple[str, str]:
    """(class of Transformers that loads the base, options that it takes)."""
    if run.file.spec.method is Method.REWARD:
        return "AutoModelForSequenceClassification", ", num_labels=1"
    return "AutoModelForCausalLM", ""


def _whole_model(run: Run) -> list[str]:
    kind, _ = _kind(run)
    return [
        f"from transformers import {kind}, AutoTokenizer",
        f'model = {kind}.from_pretrained("{_MODEL}")',
        f'tokenizer = AutoTokenizer.from_pretrained("{_MODEL}")',
    ]


def _scoring(run: Run, folder: str) -> list[str]:
    """How a reward model is asked."""
    if run.file.spec.method is not Method.REWARD:
        return []
    lines = [
        'turns = [{"role": "user", "content": "..."}, {"role": "assistant", "content": "..."}]',
        'ids = tokenizer.apply_chat_template(turns, return_tensors="pt", return_dict=True)',
        "reward = model.eval()(**ids).logits.item()",
    ]
    return [
        "The reward of an answer, which only compares with others to the same prompt "
        f"(`{folder}/{REWARD_FILE}` has mean and standard deviation over held-out answers):",
        "",
        *_code(lines),
    ]


_MODEL = "model"
_ADAPTER = "adapter"


def _base_argument(run: Run, about: About) -> tuple[str, str]:
    """(argument that names the base to Transformers, what to do before)."""
    if about.base_uri == run.here.base:
        return '"base"', ""
    if about.base != about.base_uri:
        return json.dumps(about.base), ""
    scheme = scheme_of(about.base)
    if scheme == "file":
        return json.dumps(str(file_path(about.base))), ""
    if scheme == "hf":
        name, _, revision = about.base.removeprefix("hf://").partition("@")
        return json.dumps(name) + (f", revision={json.dumps(revision)}" if revision else ""), ""
    return '"base"', f", with a copy of `{about.base}` as `base`"


def _code(lines: list[str]) -> list[str]:
    return ["```python", *lines, "```", ""]


def _section(title: str, lines: list[str]) -> list[str]:
    return [title, "", *lines, ""] if lines else []


def _source_line(source: RowSource, purpose: str) -> str:
    return f"| `{source.uri}` | {purpose} | {source.license or 'not stated'} |"


def _measurements(evaluation: EvaluationStatus | None, *, is_reward: bool) -> list[str]:
    if evaluation is None or evaluation.before is None or evaluation.after is None:
        return []
    before, after = evaluation.before, evaluation.after
    unit = "pair of answers" if is_reward else "label token"
    better = "better" if is_reward else "likelier"
    lines = [
        "## Before and after, on held-out rows",
        "",
        "| | before | after |",
        "|---|---|---|",
    ]
    compared = {
        f"cross entropy, nats per {unit}": (before.cross_entropy, after.cross_entropy),
        "mean reward of answers": (before.reward_mean, after.reward_mean),
        f"pairs whose chosen completion is {better}": (
            before.preference_accuracy,
            after.preference_accuracy,
        ),
    }
    lines += [
        f"| {name} | {earlier} | {later} |"
        for name, (earlier, later) in compared.items()
        if earlier is not None and later is not None
    ]
    if evaluation.question:
        lines += ["", "Question:", "", *_quote(evaluation.question)]
        for title, measured in (("Answer before", before), ("Answer after", after)):
            lines += ["", f"{title}:", "", *_quote(measured.answer or "")]
    return lines


def _quote(text: str) -> list[str]:
    return [f"> {line}" for line in text.splitlines() or [""]]
