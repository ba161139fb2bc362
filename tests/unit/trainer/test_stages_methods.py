"""Whole runs of the methods, of evaluation on the way, and of stops in every phase."""

import json
import math
import signal
import warnings
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from finetune_api.exits import ExitCode
from finetune_trainer.prepared import PreparedSplit
from peft import PeftModel
from transformers import AutoModelForSequenceClassification

from tests.unit.trainer.engine_support import (
    Ended,
    Sandbox,
    make_prepared,
    make_split,
    mixed_lengths,
)
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


@pytest.fixture(scope="module")
def comparisons(tmp_path_factory: pytest.TempPathFactory) -> Sandbox:
    """A sandbox whose data are 40 comparisons of three answers, and 8 held-out ones."""
    sandbox = Sandbox.make(tmp_path_factory.mktemp("comparisons"))
    make_prepared(sandbox.root / "prepared", judged_answers(40, 1), judged_answers(8, 2))
    return sandbox


@pytest.mark.parametrize("method", ["ORPO", "KTO", "Reward"])
def test_other_preferences_train_alike_on_two_processes_and_after_a_stop(
    pairs: Sandbox, feedback: Sandbox, comparisons: Sandbox, method: str
) -> None:
    sandbox = {"ORPO": pairs, "KTO": feedback, "Reward": comparisons}[method]
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


@dataclass(frozen=True)
class Judged:
    """A reward model of answers whose worth is known, and the sandbox that it was trained in."""

    sandbox: Sandbox
    ended: Ended
    model: Any


def worth(tokens: Any) -> float:
    """Share of the words below w12."""
    return float((np.asarray(tokens) < 12).mean())


def judged_answers(units: int, seed: int) -> PreparedSplit:
    """Comparisons of three answers, the best first."""
    split = make_split([16] * (3 * units), seed=seed, rows_per_unit=3)
    answers = 4 + split.tokens.reshape(units, 3, 16) % 16
    answers[:, :, :4] = answers[:, :1, :4]
    ranks = np.argsort([[-worth(row[4:]) for row in unit] for unit in answers], axis=1)
    answers = np.take_along_axis(answers, ranks[:, :, None], axis=1)
    values = np.array([worth(row[4:]) for row in answers.reshape(-1, 16)], np.float32)
    starts = np.full(len(split), 4, np.int32)
    tokens = np.ascontiguousarray(answers.reshape(-1))
    return replace(split, tokens=tokens, row_values=values, span_starts=starts)


@pytest.fixture(scope="module")
def judged(tmp_path_factory: pytest.TempPathFactory) -> Judged:
    """Trained on 400 comparisons on two processes."""
    sandbox = Sandbox.make(tmp_path_factory.mktemp("judged"))
    make_prepared(sandbox.root / "prepared", judged_answers(400, 1), judged_answers(60, 2))
    training = {"epochs": "6", "globalBatchSize": 10, "learningRate": "1e-2"}
    training |= {"microBatchTokens": 512, "gradientCheckpointing": False}
    run_file = sandbox.run_file(
        "judge",
        method="Reward",
        adapter={"rank": 16, "alpha": 32, "dropout": "0"},
        training=training,
        workers={"processesPerNode": 2},
        output={"uri": (sandbox.root / "store").as_uri(), "merged": True},
    )
    ended = sandbox.launch(run_file)
    assert ended.code == ExitCode.DONE, ended.log
    assert ended.message.output is not None
    base = AutoModelForSequenceClassification.from_pretrained(
        sandbox.root / "model", num_labels=1, dtype=torch.float32
    )
    folder = ended.message.output.uri.removeprefix("file://")
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "`is_gradient_checkpointing`", FutureWarning)  # PEFT's
        model = PeftModel.from_pretrained(base, folder)
    return Judged(sandbox, ended, model.eval())


def reward_of(model: Any, tokens: Any) -> float:
    with torch.no_grad():
        return float(model(input_ids=torch.tensor(np.asarray(tokens, np.int64))[None]).logits)


def test_a_reward_model_ranks_held_out_answers_as_the_rule_does(judged: Judged) -> None:
    evaluation = judged.ended.message.evaluation
    assert evaluation is not None
    assert evaluation.question is None
    assert evaluation.after is not None
    assert float(evaluation.after.preference_accuracy or 0) >= 0.9
    held_out = judged_answers(60, 2)
    right = pairs_seen = 0
    for unit in range(held_out.units):
        rows = [held_out.row(3 * unit + k)[0] for k in range(3)]
        values = held_out.row_values[3 * unit : 3 * unit + 3]
        found = [reward_of(judged.model, row) for row in rows]
        for better, worse in ((0, 1), (0, 2), (1, 2)):
            if values[better] > values[worse]:
                pairs_seen += 1
                right += found[better] > found[worse]
    assert right / pairs_seen == pytest.approx(
        float(evaluation.after.preference_accuracy or 0), abs=1e-6
    )


def test_the_best_of_four_by_the_reward_model_beats_a_random_one(judged: Judged) -> None:
    rng = np.random.default_rng(8)
    chosen, all_worths = [], []
    for _ in range(50):
        prompt = rng.integers(4, 20, 4)
        answers = [rng.integers(4, 20, 12) for _ in range(4)]
        rewards = [reward_of(judged.model, np.concatenate([prompt, each])) for each in answers]
        chosen.append(worth(answers[int(np.argmax(rewards))]))
        all_worths += [worth(each) for each in answers]
    assert np.mean(chosen) > np.mean(all_worths) + 0.08


def test_a_reward_model_is_published_with_its_scale_and_merged(judged: Judged) -> None:
    root = judged.sandbox.job_folder("judge")
    manifest = json.loads((root / "manifest.json").read_text())
    folder = Path(manifest["runURI"].removeprefix("file://"))
    scale = json.loads((folder / "adapter" / "reward.json").read_text())
    held_out = judged_answers(60, 2)
    rewards = [reward_of(judged.model, held_out.row(row)[0]) for row in range(len(held_out))]
    assert scale["mean"] == pytest.approx(np.mean(rewards), abs=1e-4)
    assert scale["standardDeviation"] == pytest.approx(np.std(rewards), abs=1e-4)
    assert scale["answers"] == 180
    merged = AutoModelForSequenceClassification.from_pretrained(folder / "model").eval()
    row = held_out.row(0)[0]
    assert reward_of(merged, row) == pytest.approx(rewards[0], abs=1e-3)
    card = (folder / "README.md").read_text()
    assert "AutoModelForSequenceClassification" in card
    assert "num_labels=1" in card


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
    assert float(evaluation.after.cross_entropy or "nan") == pytest.approx(held_out[best], abs=2e-5)


def test_a_killed_run_still_finds_its_best_step(overfitting: Sandbox) -> None:
    run_file = overfitting.run_file("killed", **EARLY)
    killed = end_at(overfitting, run_file, "step 3/100", signal.SIGKILL)
    assert killed.code == ExitCode.INTERNAL
    finished = overfitting.launch(run_file)
    assert finished.code == ExitCode.DONE, finished.log
    overfitting.launch(overfitting.run_file("early", **EARLY))
    for name, tensor in overfitting.weights("early").items():
        assert torch.equal(overfitting.weights("killed")[name], tensor)


@pytest.mark.parametrize(
    "line", ["stage Fetching", "stage Baseline", "stage Evaluating", "stage Publishing"]
)
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
    if line in ("stage Evaluating", "stage Publishing"):
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
