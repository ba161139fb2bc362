"""What is printed at the end of a run: quality, where the result lies, how to load it."""

import json
from collections.abc import Iterator
from pathlib import Path

from finetune_api.manifest import ORIGIN_FILE, Origin
from finetune_api.spec import AdapterType, FineTuneJobSpec, Method
from finetune_api.status import EvaluationStatus, OutputStatus

from finetune_cli.jobfile import local_path
from finetune_cli.text import evaluation_lines


def result_lines(
    spec: FineTuneJobSpec, output: OutputStatus, evaluation: EvaluationStatus | None
) -> Iterator[str]:
    """Cross entropy and answers before and after, the address, and the lines that load it."""
    yield from evaluation_lines(evaluation, spec.method)
    what = "model" if spec.adapter.type is AdapterType.NONE else "adapter"
    path = local_path(output.uri)
    yield f"{what}: {path}"
    yield "load it:"
    for line in loading_lines(spec, path):
        yield f"  {line}"


def loading_lines(spec: FineTuneJobSpec, path: str) -> list[str]:
    """Three lines of Python that load what lies at `path`."""
    is_reward = spec.method is Method.REWARD
    kind = "AutoModelForSequenceClassification" if is_reward else "AutoModelForCausalLM"
    if spec.adapter.type is AdapterType.NONE:
        return [
            f"from transformers import {kind}, AutoTokenizer",
            f"tokenizer = AutoTokenizer.from_pretrained({path!r})",
            f"model = {kind}.from_pretrained({path!r})",
        ]
    base = local_path(_base_uri(Path(path)) or spec.model.address())
    options = ", num_labels=1" if is_reward else ""
    copied = [] if "://" not in base else [f"# base: a copy of {base} on this machine"]
    base = base if not copied else "base"
    return [
        *copied,
        f"from peft import PeftModel; from transformers import {kind}, AutoTokenizer",
        f"base = {kind}.from_pretrained({base!r}{options})",
        f"model, tokenizer = PeftModel.from_pretrained(base, {path!r}), "
        f"AutoTokenizer.from_pretrained({path!r})",
    ]


def _base_uri(adapter: Path) -> str | None:
    """Where the base of the adapter in this folder lies, by the record beside it."""
    try:
        text = (adapter / ORIGIN_FILE).read_text(encoding="utf-8")
        return Origin.read_wire(json.loads(text)).base_uri
    except (OSError, ValueError):
        return None
