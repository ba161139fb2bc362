"""Whole runs of the methods, of evaluation on the way, and of stops in every phase."""

import json
import math
import signal
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from finetune_api.exits import ExitCode

from tests.unit.trainer.engine_support import Sandbox, make_prepared, make_split, mixed_lengths
from tests.unit.trainer.test_stages_runs import end_at

NO_DROPOUT = {"rank": 4, "alpha": 8, "dropout": "0"}


@pytest.fixture(scope="module")
def pairs(tmp_path_factory: pytest.TempPathFactory) -> Sandbox:
    """A sandbox whose data are 40 pairs, and 8 held-out pairs."""
    sandbox = Sandbox.make(tmp_path_factory.mktemp("pairs"))
    train = make_split(mixed_lengths(80), rows_per_unit=2)
    evaluation = make_split(mixed_lengths(16), seed=9, rows_per_unit=2)
    make_prepared(sandbox.root / "prepared", train, evaluation)
    return sandbox


def dpo(sandbox: Sandbox, name: str, **more: Any) -> Path:
    training = {"epochs": "2", "globalBatchSize": 8, "learningRate": "1e-2"}
    training |= more.pop("training", {})
    options = {"method": "DPO", "adapter": NO_DROPOUT, "training": training, **more}
    return sandbox.run_file(name, **options)


def lines(sandbox: Sandbox, name: str) -> list[dict[str, Any]]:
    return sandbox.metrics(name)


def test_dpo_starts_at_ln_2_learns_its_pairs_and_says_so(pairs: Sandbox) -> None:
    ended = pairs.launch(dpo(pairs, "whole", training={"epochs": "6"}))
    assert ended.code == ExitCode.DONE, ended.log
    steps = lines(pairs, "whole")
    assert steps[0]["loss"] == pytest.approx(math.log(2), abs=1e-5)
    assert steps[-1]["loss"] < 0.5
    assert steps[-1]["accuracy"] > 0.9
    assert steps[-1]["margin"] == pytest.approx(
        steps[-1]["chosenReward"] - steps[-1]["rejectedReward"], abs=1e-5
    )
    evaluation = ended.message.evaluation
    assert evaluation is not None
    assert evaluation.before is not None
    assert evaluation.before.preference_accuracy is not None
    assert "stage Reference" in ended.log


def test_two_processes_share_the_reference_pass_and_compute_what_one_does(pairs: Sandbox) -> None:
    alone = pairs.launch(dpo(pairs, "alone"))
    two = pairs.launch(dpo(pairs, "two", workers={"processesPerNode": 2}))
    assert (alone.code, two.code) == (0, 0), two.log
    losses = [[m["loss"] for m in lines(pairs, name)] for name in ("alone", "two")]
    assert losses[0] == pytest.approx(losses[1], abs=1e-5)
    for name, tensor in pairs.weights("alone").items():
        torch.testing.assert_close(pairs.weights("two")[name], tensor, atol=1e-5, rtol=0)


def test_a_stop_in_the_reference_pass_loses_no_shard(pairs: Sandbox) -> None:
    """The folder of the pass is that of the data and the start, so another job finds it too."""
    folder = pairs.root / "store" / "prepared-reference"
    for path in folder.rglob("*.safetensors"):
        path.unlink()
    run_file = dpo(pairs, "stopped", checkpoints={"everySteps": 2})
    stopped = end_at(pairs, run_file, "stage Reference", signal.SIGTERM)
    assert stopped.code == ExitCode.INTERRUPTED, stopped.log
    written = {path: path.stat().st_mtime_ns for path in folder.rglob("*.safetensors")}
    finished = pairs.launch(run_file)
    assert finished.code == ExitCode.DONE, finished.log
    assert all(path.stat().st_mtime_ns == time for path, time in written.items())
    pairs.launch(dpo(pairs, "undisturbed"))
    losses = [[m["loss"] for m in lines(pairs, name)] for name in ("stopped", "undisturbed")]
    assert losses[0] == losses[1]


@pytest.fixture(scope="module")
def feedback(tmp_path_factory: pytest.TempPathFactory) -> Sandbox:
    """A sandbox whose data are 40 rows with labels and partners, and 8 held-out ones."""
    sandbox = Sandbox.make(tmp_path_factory.mktemp("feedback"))
    train, evaluation = (
        replace(split, row_values=(np.arange(len(split)) % 3 > 0).astype(np.float32))
        for split in (make_split(mixed_lengths(40)), make_split(mixed_lengths(8), seed=9))
    )
    partners = (make_split(mixed_lengths(40), seed=5), make_split(mixed_lengths(8), seed=6))
    make_prepared(sandbox.root / "prepared", train, evaluation, partners)
    return sandbox


@pytest.mark.parametrize("method", ["ORPO", "KTO"])
def test_other_preferences_train_alike_on_two_processes_and_after_a_stop(
    pairs: Sandbox, feedback: Sandbox, method: str
) -> None:
    sandbox = feedback if method == "KTO" else pairs
    training = {"epochs": "4", "globalBatchSize": 8, "learningRate": "1e-2", "evalEverySteps": 4}

    def job(name: str, **more: Any) -> Path:
        options = {"method": method, "adapter": NO_DROPOUT, "training": dict(training), **more}
        return sandbox.run_file(f"{method.lower()}-{name}", **options)

    alone = sandbox.launch(job("alone"))
    two = job("two", workers={"processesPerNode": 2})
    stopped = end_at(sandbox, two, "step 3/20", signal.SIGTERM)
    finished = sandbox.launch(two)

    assert (alone.code, stopped.code) == (0, ExitCode.INTERRUPTED), alone.log + stopped.log
    assert finished.code == ExitCode.DONE, finished.log
    assert ("stage Reference" in alone.log) == (method == "KTO")
    runs = [lines(sandbox, f"{method.lower()}-{name}") for name in ("alone", "two")]
    losses = [[m["loss"] for m in run if "loss" in m] for run in runs]
    held_out = [[m["evaluation"]["loss"] for m in run if "evaluation" in m] for run in runs]
    assert losses[0] == pytest.approx(losses[1], abs=1e-5)
    assert held_out[0] == pytest.approx(held_out[1], abs=1e-5)
    assert losses[0][-1] < losses[0][0]
    alone_weights, two_weights = (
        sandbox.weights(f"{method.lower()}-{name}") for name in ("alone", "two")
    )
    for name, tensor in alone_weights.items():
        torch.testing.assert_close(two_weights[name], tensor, atol=1e-4, rtol=0)


@pytest.fixture(scope="module")
def overfitting(tmp_path_factory: pytest.TempPathFactory) -> Sandbox:
    """Random rows: what is learnt of them is of no use to the held-out ones."""
    return Sandbox.make(tmp_path_factory.mktemp("rows"))


EARLY: dict[str, Any] = {
    "training": {
        "epochs": "20",
        "learningRate": "1e-2",
        "evalEverySteps": 2,
        "earlyStopping": {"patience": 2},
    },
    "adapter": NO_DROPOUT,
}


def test_training_ends_early_and_publishes_the_best_evaluated_step(overfitting: Sandbox) -> None:
    ended = overfitting.launch(overfitting.run_file("early", **EARLY))
    assert ended.code == ExitCode.DONE, ended.log
    found = lines(overfitting, "early")
    held_out = {m["step"]: m["evaluation"]["loss"] for m in found if "evaluation" in m}
    best = min(held_out, key=lambda step: held_out[step])
    last = max(m["step"] for m in found)
    assert last == best + 4 < 100
    evaluation = ended.message.evaluation
    assert evaluation is not None
    assert evaluation.after is not None
    if best != last:
        assert f"publishing step {best}" in ended.log
    assert float(evaluation.after.cross_entropy) == pytest.approx(held_out[best], abs=2e-5)


def test_a_killed_run_still_finds_its_best_step(overfitting: Sandbox) -> None:
    run_file = overfitting.run_file("killed", **EARLY)
    killed = end_at(overfitting, run_file, "step 3/100", signal.SIGKILL)
    assert killed.code == ExitCode.INTERNAL
    finished = overfitting.launch(run_file)
    assert finished.code == ExitCode.DONE, finished.log
    overfitting.launch(overfitting.run_file("early", **EARLY))
    for name, tensor in overfitting.weights("early").items():
        assert torch.equal(overfitting.weights("killed")[name], tensor)


@pytest.mark.parametrize("line", ["stage Fetching", "stage Baseline", "stage Evaluating"])
def test_a_stop_in_any_phase_is_an_interruption_and_the_next_goes_on(
    overfitting: Sandbox, line: str
) -> None:
    name = f"stop-{line.rpartition(' ')[2].lower()}"
    run_file = overfitting.run_file(name, adapter=NO_DROPOUT, training={"maxSteps": 3})
    stopped = end_at(overfitting, run_file, line, signal.SIGTERM)
    assert stopped.code == ExitCode.INTERRUPTED, stopped.log
    assert not (overfitting.job_folder(name) / "manifest.json").exists()
    finished = overfitting.launch(run_file)
    assert finished.code == ExitCode.DONE, finished.log
    if line == "stage Evaluating":
        assert "stage Training" not in finished.log


def test_the_report_holds_held_out_losses(overfitting: Sandbox) -> None:
    run_file = overfitting.run_file(
        "reported", training={"maxSteps": 4, "evalEverySteps": 2}, adapter=NO_DROPOUT
    )
    ended = overfitting.launch(run_file)
    assert ended.code == ExitCode.DONE, ended.log
    manifest = json.loads((overfitting.job_folder("reported") / "manifest.json").read_text())
    folder = Path(manifest["runURI"].removeprefix("file://")) / "report"
    report = json.loads((folder / "report.json").read_text())
    assert [e["step"] for e in report["heldOut"]] == [2, 4]
    assert np.isfinite([e["evaluation"]["loss"] for e in report["heldOut"]]).all()
