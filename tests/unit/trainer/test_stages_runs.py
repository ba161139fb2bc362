"""Whole runs as a pod does them: `python -m finetune_trainer launch` on a file:// store.

Starting a run takes seconds of imports, so few runs are shared by many promises.
"""

import json
import os
import shutil
import signal
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil
import pytest
import torch
from finetune_api.exits import ExitCode
from finetune_api.manifest import Manifest
from peft import PeftModel
from transformers import AutoModelForCausalLM, AutoTokenizer

from tests.unit.trainer.engine_support import (
    Ended,
    Sandbox,
    cross_entropy,
    make_split,
    mixed_lengths,
)

NO_DROPOUT = {"rank": 4, "alpha": 8, "dropout": "0"}
LONG = {"epochs": "24", "gradientCheckpointing": False}
"""120 steps."""
SHORT = {"epochs": "10", "learningRate": "3e-2", "gradientCheckpointing": False}
"""50 steps."""


@pytest.fixture(scope="module")
def sandbox(tmp_path_factory: pytest.TempPathFactory) -> Sandbox:
    return Sandbox.make(tmp_path_factory.mktemp("sandbox"))


def options(**more: Any) -> dict[str, Any]:
    return {"training": LONG, "adapter": NO_DROPOUT, "checkpoints": {"everySteps": 2}, **more}


@pytest.fixture(scope="module")
def whole(sandbox: Sandbox) -> Ended:
    """One process, undisturbed."""
    return sandbox.launch(sandbox.run_file("whole", **options()))


def manifest_of(sandbox: Sandbox, name: str) -> Manifest:
    return Manifest.model_validate_json((sandbox.job_folder(name) / "manifest.json").read_bytes())


def folder_of(uri: str) -> Path:
    return Path(uri.removeprefix("file://"))


def assert_same_run(sandbox: Sandbox, one: str, other: str) -> None:
    """The same losses at the same steps, and the same bits in the end."""
    losses = [[(m["step"], m["loss"]) for m in sandbox.metrics(name)] for name in (one, other)]
    assert losses[0] == losses[1]
    weights = sandbox.weights(one), sandbox.weights(other)
    assert weights[0].keys() == weights[1].keys()
    assert all(torch.equal(weights[0][n], weights[1][n]) for n in weights[0])


def test_a_run_ends_done_with_what_the_operator_needs(sandbox: Sandbox, whole: Ended) -> None:
    assert whole.code == ExitCode.DONE, whole.log
    output, evaluation = whole.message.output, whole.message.evaluation
    assert output is not None
    assert output.base_model == "tests/tiny"
    assert evaluation is not None
    assert evaluation.question == "w5 w6 w7"
    assert evaluation.before is not None
    assert evaluation.after is not None
    assert evaluation.before.cross_entropy != evaluation.after.cross_entropy
    assert len((evaluation.after.answer or "").split()) <= 4
    assert whole.message.last_step == 120
    assert "step 1/120  loss " in whole.log
    assert "Warning" not in whole.log


def test_the_manifest_names_every_published_file(sandbox: Sandbox, whole: Ended) -> None:
    manifest = manifest_of(sandbox, "whole")
    root = folder_of(manifest.run_uri)
    for record in manifest.files:
        assert (root / record.path).stat().st_size == record.size
    names = {record.path for record in manifest.files}
    assert names >= {
        "README.md",
        "adapter/adapter_config.json",
        "adapter/adapter_model.safetensors",
        "adapter/tokenizer.json",
        "adapter/generation_config.json",
        "report/metrics.jsonl",
        "report/report.json",
        "report/loss.png",
    }
    assert "PeftModel.from_pretrained" in (root / "README.md").read_text()
    assert not list(root.rglob("*.bin")) + list(root.rglob("*.pt")) + list(root.rglob("*.pkl"))


@pytest.mark.filterwarnings("ignore:`is_gradient_checkpointing`:FutureWarning")  # PEFT 0.21's
def test_the_adapter_loads_elsewhere_and_gives_the_evaluated_cross_entropy(
    sandbox: Sandbox, whole: Ended
) -> None:
    assert whole.message.output is not None
    folder = folder_of(whole.message.output.uri)
    config = json.loads((folder / "adapter_config.json").read_text())
    assert config["base_model_name_or_path"] == "tests/tiny"
    base = AutoModelForCausalLM.from_pretrained(sandbox.root / "model", dtype=torch.float32)
    model = PeftModel.from_pretrained(base, folder).eval()
    AutoTokenizer.from_pretrained(folder)
    measured = cross_entropy(model, make_split(mixed_lengths(8), seed=9))
    evaluation = whole.message.evaluation
    assert evaluation is not None
    assert evaluation.after is not None
    assert float(evaluation.after.cross_entropy or "nan") == pytest.approx(measured, abs=2e-5)


@dataclass(frozen=True)
class Disturbed:
    killed: Ended
    stopped: Ended
    finished: Ended


def end_at(sandbox: Sandbox, run_file: Path, line: str, number: signal.Signals) -> Ended:
    """Launch; when `line` is logged send the signal: SIGKILL to a rank, others to the launcher."""
    process = sandbox.start(run_file)
    assert process.stdout is not None
    seen = ""
    for text in process.stdout:
        seen += text
        if line in text:
            break
    assert line in seen, seen
    target = process.pid
    if number is signal.SIGKILL:
        target = max(child.pid for child in psutil.Process(process.pid).children())
    os.kill(target, number)
    ended = sandbox.finish(process, run_file)
    return Ended(ended.code, ended.message, seen + ended.log)


@pytest.fixture(scope="module")
def disturbed(sandbox: Sandbox) -> Disturbed:
    """The same run: its rank is killed, then the pod is asked to stop, then it is left alone."""
    run_file = sandbox.run_file("disturbed", **options())
    killed = end_at(sandbox, run_file, "step 5/120", signal.SIGKILL)
    stopped = end_at(sandbox, run_file, "going on after step", signal.SIGTERM)
    return Disturbed(killed, stopped, sandbox.launch(run_file))


def test_a_killed_rank_is_an_internal_end_that_names_the_signal(disturbed: Disturbed) -> None:
    assert disturbed.killed.code == ExitCode.INTERNAL
    assert "rank 0 was killed by SIGKILL" in disturbed.killed.message.message


def test_sigterm_saves_and_ends_as_interrupted(disturbed: Disturbed) -> None:
    assert disturbed.stopped.code == ExitCode.INTERRUPTED, disturbed.stopped.log
    message = disturbed.stopped.message
    assert message.outcome == "Interrupted"
    assert message.checkpoint_step is not None
    assert message.checkpoint_step == message.last_step
    assert f"saved after step {message.last_step} of 120" in message.message


def test_killed_and_interrupted_runs_go_on_to_the_very_bits_of_an_undisturbed_one(
    sandbox: Sandbox, whole: Ended, disturbed: Disturbed
) -> None:
    assert disturbed.finished.code == ExitCode.DONE, disturbed.finished.log
    for ended in (disturbed.stopped, disturbed.finished):
        assert "going on after step" in ended.log
        assert "stage Baseline" not in ended.log
        assert "step 1/120" not in ended.log
    assert_same_run(sandbox, "whole", "disturbed")
    assert disturbed.finished.message.evaluation == whole.message.evaluation


@pytest.fixture(scope="module")
def alone(sandbox: Sandbox) -> Ended:
    """50 steps of one process, undisturbed."""
    return sandbox.launch(sandbox.run_file("alone", **options(training=SHORT)))


def assert_close_runs(sandbox: Sandbox, one: str, other: str) -> None:
    """The same steps with losses within 1e-5, and parameters within 1e-4 in the end."""
    losses = [[m["loss"] for m in sandbox.metrics(name)] for name in (one, other)]
    assert losses[0] == pytest.approx(losses[1], rel=1e-5)
    for name, tensor in sandbox.weights(other).items():
        torch.testing.assert_close(sandbox.weights(one)[name], tensor, atol=1e-4, rtol=0)


def test_two_processes_compute_what_one_does(sandbox: Sandbox, alone: Ended) -> None:
    assert alone.code == ExitCode.DONE, alone.log
    two = options(training=SHORT, workers={"processesPerNode": 2})
    ended = sandbox.launch(sandbox.run_file("two", **two))
    assert ended.code == ExitCode.DONE, ended.log
    assert_close_runs(sandbox, "two", "alone")


def test_a_run_of_two_processes_goes_on_in_one(sandbox: Sandbox, alone: Ended) -> None:
    assert alone.code == ExitCode.DONE, alone.log
    two = options(training=SHORT, workers={"processesPerNode": 2})
    stopped = end_at(sandbox, sandbox.run_file("fewer", **two), "step 5/50", signal.SIGTERM)
    assert stopped.code == ExitCode.INTERRUPTED, stopped.log

    ended = sandbox.launch(sandbox.run_file("fewer", **options(training=SHORT)))

    assert ended.code == ExitCode.DONE, ended.log
    assert f"going on after step {stopped.message.checkpoint_step}" in ended.log
    assert_close_runs(sandbox, "fewer", "alone")


def test_a_run_that_died_in_evaluation_trains_no_step_again(sandbox: Sandbox, whole: Ended) -> None:
    assert whole.message.output is not None
    before = sandbox.weights("whole")
    source, target = sandbox.job_folder("whole"), sandbox.job_folder("late")
    shutil.copytree(source, target)
    (target / "manifest.json").unlink()
    for marker in target.rglob("Evaluating.json"):
        marker.unlink()
    ended = sandbox.launch(sandbox.run_file("late", **options()))
    assert ended.code == ExitCode.DONE, ended.log
    assert "stage Evaluating" in ended.log
    assert "stage Training" not in ended.log
    assert "stage Baseline" not in ended.log
    assert ended.message.evaluation == whole.message.evaluation
    after = sandbox.weights("late")
    assert all(torch.equal(before[name], after[name]) for name in before)


def test_what_is_published_is_adopted_by_the_same_recipe_and_refused_to_another(
    sandbox: Sandbox, whole: Ended
) -> None:
    again = sandbox.launch(sandbox.run_file("whole", **options()))
    assert again.code == ExitCode.DONE, again.log
    assert again.message.output == whole.message.output
    assert "stage Baseline" not in again.log
    other = sandbox.launch(sandbox.run_file("whole", recipe="b", **options()))
    assert other.code == ExitCode.USER_ERROR
    assert other.message.reason == "OutputTaken"
    assert "onExisting" in other.message.message


def test_a_run_that_diverges_is_the_users_error(sandbox: Sandbox) -> None:
    training = {"learningRate": "1e9", "maxGradNorm": "1e9", "maxSkippedSteps": 1, "maxSteps": 40}
    training["warmupRatio"] = "0"
    run_file = sandbox.run_file("diverging", training=training, evaluation={"enabled": False})
    ended = sandbox.launch(run_file)
    assert ended.code == ExitCode.USER_ERROR, ended.log
    assert ended.message.reason == "Diverged"
    assert "learningRate" in ended.message.message
    assert "skipped" in ended.log
