"""What a run leaves in the store, and what happens between its steps."""

import json
from pathlib import Path
from typing import Any
from unittest.mock import patch

from finetune_api.errors import UserError
from finetune_api.resolve import resolve
from finetune_api.spec import FineTuneJobSpec
from finetune_api.status import EvaluationStatus
from finetune_trainer.checkpoint.header import METRICS_FILE, Evaluated
from finetune_trainer.stages import train
from finetune_trainer.stages.metrics import read_metrics
from finetune_trainer.stages.selection import Selection
from finetune_trainer.stages.sequence import run_stages
from finetune_trainer.storage.addresses import file_path

from tests.unit.fields.bench import Bench
from tests.unit.fields.observe.prepare import JOB, is_prepared
from tests.unit.fields.observe.run import begin, open_job, run_to_end

STEP_SECONDS = 40.0


def measured(bench: Bench, spec: FineTuneJobSpec) -> object:
    """Cross entropy of the model before training; None where nothing was measured."""
    evaluation = _evaluation(bench, spec)
    return evaluation and evaluation.before and evaluation.before.cross_entropy


def answer(bench: Bench, spec: FineTuneJobSpec) -> object:
    """What the model says before training."""
    evaluation = _evaluation(bench, spec)
    assert evaluation is not None
    assert evaluation.before is not None
    return evaluation.before.answer


def named_base(bench: Bench, spec: FineTuneJobSpec) -> object:
    """The base that PEFT loads for the published adapter."""
    path = run_to_end(bench, spec).folder / "adapter" / "adapter_config.json"
    return json.loads(path.read_text())["base_model_name_or_path"]


def card(bench: Bench, spec: FineTuneJobSpec) -> object:
    """The model card's lines on licences."""
    lines = (run_to_end(bench, spec).folder / "README.md").read_text().splitlines()
    return [line for line in lines if line.startswith(("Licence", "| `"))]


def published_weights(bench: Bench, spec: FineTuneJobSpec) -> object:
    """Files of weights in the run's folder."""
    folder = run_to_end(bench, spec).folder
    return {str(path.relative_to(folder)) for path in folder.rglob("*model*.safetensors")}


def places(bench: Bench, spec: FineTuneJobSpec) -> object:
    """Where manifests, of jobs and of prepared data, lie below the fresh folder; not those of runs,
    whose names no job says."""
    run_to_end(bench, spec)
    found = [*bench.fresh.rglob("manifest.json"), *bench.fresh.rglob("prepare.json")]
    folders = (path.parent for path in found if path.parents[2].name != "runs")
    return {str(folder.relative_to(bench.fresh)) for folder in folders}


def prepares_over_another(bench: Bench, spec: FineTuneJobSpec) -> object:
    """Whether a job is prepared where another result is published already."""
    _publish_another(spec)
    return is_prepared(bench, spec)


def trains_over_another(bench: Bench, spec: FineTuneJobSpec) -> object:
    """Whether a job is trained where another result was published since it was prepared."""
    run = open_job(bench, spec)
    _publish_another(spec)
    try:
        run_stages(run)
    except UserError:
        return False
    return True


def evaluated_steps(bench: Bench, spec: FineTuneJobSpec) -> object:
    """Steps after which the held-out rows are measured."""
    training = begin(bench, spec)
    training.run_to_end()
    lines = read_metrics(training.run.report_folder / METRICS_FILE).evaluations
    return [line["step"] for line in lines]


def last_step(bench: Bench, spec: FineTuneJobSpec) -> object:
    """Step at which training ends."""
    training = begin(bench, spec)
    training.run_to_end()
    return training.engine.step


def passes_of_trl(bench: Bench, spec: FineTuneJobSpec) -> object:
    """Forward passes that TRL's trainer made for the published result."""
    from trl.trainer.sft_trainer import SFTTrainer

    passes = []
    step = SFTTrainer.training_step

    def counted(trainer: Any, *args: Any, **rest: Any) -> Any:
        passes.append(trainer.state.global_step)
        return step(trainer, *args, **rest)

    with patch.object(SFTTrainer, "training_step", counted):
        run_to_end(bench, spec)
    return passes


def kept_checkpoints(bench: Bench, spec: FineTuneJobSpec) -> object:
    """Checkpoints that lie in the store when the result is published."""
    return _checkpoints(run_to_end(bench, spec).folder)


def checkpoints(bench: Bench, spec: FineTuneJobSpec) -> object:
    """Checkpoints that lie in the store when training ends."""
    training = begin(bench, spec)
    training.run_to_end()
    return _checkpoints(file_path(training.run.here.root))


def first_checkpoint(bench: Bench, spec: FineTuneJobSpec) -> object:
    """The first of them, where a step takes `STEP_SECONDS`."""
    with patch.object(train, "time", _Clock()):
        training = begin(bench, spec)
        training.run_to_end()
    return _checkpoints(file_path(training.run.here.root))[:1]


def best_step(_bench: Bench, spec: FineTuneJobSpec) -> object:
    """Step that is published when loss and accuracy do not agree."""
    selection = Selection.of(resolve(spec))
    means = {1: {"loss": 1.0, "accuracy": 0.5}, 2: {"loss": 2.0, "accuracy": 0.9}}
    found = [Evaluated(step=s, value=selection.value_of(m)) for s, m in means.items()]
    best = selection.best(found)
    assert best is not None
    return best.step


def _publish_another(spec: FineTuneJobSpec) -> None:
    folder = file_path(spec.output.uri) / JOB.namespace / JOB.name
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "manifest.json").write_text("{}")


class _Clock:
    """Stands in for the module time."""

    def __init__(self) -> None:
        self._now = 0.0

    def monotonic(self) -> float:
        self._now += STEP_SECONDS / 3  # looked at three times in a step
        return self._now


def _checkpoints(run: Path) -> list[str]:
    return sorted(path.parent.name for path in run.rglob("checkpoint.json"))


def _evaluation(bench: Bench, spec: FineTuneJobSpec) -> EvaluationStatus | None:
    return run_to_end(bench, spec).message.evaluation
