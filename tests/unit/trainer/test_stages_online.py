"""Runs whose model writes the answers: GRPO by rules, PPO by a reward model."""

import signal
import warnings
from pathlib import Path
from typing import Any

import pytest
import torch
from finetune_api.exits import ExitCode
from peft import PeftModel
from transformers import (
    AutoModelForCausalLM,
    AutoTokenizer,
    LlamaConfig,
    LlamaForSequenceClassification,
)

from tests.unit.trainer.engine_support import Sandbox, make_prepared, make_prompts
from tests.unit.trainer.test_stages_runs import end_at

TRAINING: dict[str, Any] = {
    "maxSteps": 6,
    "globalBatchSize": 8,
    "learningRate": "1e-2",
    "evalEverySteps": 3,
    "gradientCheckpointing": False,
}
NO_DROPOUT = {"rank": 4, "alpha": 8, "dropout": "0"}
RULES = [{"type": "Length", "maxTokens": 4}, {"type": "Regex", "pattern": "w1", "weight": "2"}]


@pytest.fixture(scope="module")
def prompts(tmp_path_factory: pytest.TempPathFactory) -> Sandbox:
    """A sandbox with 40 prompts, 8 held-out ones, and a reward model under `judge`."""
    sandbox = Sandbox.make(tmp_path_factory.mktemp("prompts"))
    train, held_out = make_prompts(40, seed=1), make_prompts(8, seed=9)
    make_prepared(sandbox.root / "prepared", train, held_out)
    torch.manual_seed(5)
    config = LlamaConfig.from_pretrained(sandbox.root / "model")
    settings = {**config.to_dict(), "id2label": {0: "score"}}
    LlamaForSequenceClassification(LlamaConfig(**settings)).save_pretrained(sandbox.root / "judge")
    AutoTokenizer.from_pretrained(sandbox.root / "model").save_pretrained(sandbox.root / "judge")
    return sandbox


def grpo(sandbox: Sandbox, name: str, **more: Any) -> Path:
    wish = {"generations": 3, "maxNewTokens": 8, "rewardFunctions": RULES, "iterations": 2}
    options = {"adapter": NO_DROPOUT, "training": dict(TRAINING), "grpo": wish, **more}
    return sandbox.run_file(name, method="GRPO", **options)


def ppo(sandbox: Sandbox, name: str, **more: Any) -> Path:
    # Of the likeliest token alone: what is written depends on the parameters and nothing else.
    wish = {"maxNewTokens": 8, "topP": "0.0001", "klController": "Adaptive", "epochsPerBatch": 2}
    judge = {"uri": (sandbox.root / "judge").as_uri()}
    options = {"adapter": NO_DROPOUT, "training": dict(TRAINING), "ppo": wish, **more}
    return sandbox.run_file(name, method="PPO", rewardModel=judge, **options)


def steps(sandbox: Sandbox, name: str) -> list[dict[str, Any]]:
    return [line for line in sandbox.metrics(name) if "loss" in line]


def answers(sandbox: Sandbox, name: str) -> list[Any]:
    return [line["answers"] for line in sandbox.metrics(name) if "answers" in line]


@pytest.mark.long
def test_grpo_on_two_processes_goes_on_bit_equal_after_a_stop(prompts: Sandbox) -> None:
    two = {"workers": {"processesPerNode": 2}}
    undisturbed = prompts.launch(grpo(prompts, "grpo", **two))
    stopped_file = grpo(prompts, "grpo-stopped", **two)
    stopped = end_at(prompts, stopped_file, "step 3/6", signal.SIGTERM)
    finished = prompts.launch(stopped_file)

    assert (undisturbed.code, stopped.code) == (0, ExitCode.INTERRUPTED), stopped.log
    assert finished.code == ExitCode.DONE, finished.log
    assert "going on after step" in finished.log
    one, other = prompts.weights("grpo"), prompts.weights("grpo-stopped")
    for name, tensor in one.items():
        torch.testing.assert_close(other[name], tensor, atol=0, rtol=0)
    assert answers(prompts, "grpo") == answers(prompts, "grpo-stopped")
    told = steps(prompts, "grpo")[-1]
    assert {"reward", "reward/Length0", "reward/Regex1", "kl", "flatGroups"} <= told.keys()
    measured = undisturbed.message.evaluation
    assert measured is not None
    assert measured.before is not None
    assert measured.after is not None
    assert measured.before.cross_entropy is None
    assert measured.before.reward_mean is not None
    assert measured.after.reward_mean is not None


def test_ppo_on_two_processes_and_after_a_stop_is_ppo_on_one(prompts: Sandbox) -> None:
    alone = prompts.launch(ppo(prompts, "ppo"))
    two_file = ppo(prompts, "ppo-two", workers={"processesPerNode": 2})
    stopped = end_at(prompts, two_file, "step 3/6", signal.SIGTERM)
    finished = prompts.launch(two_file)

    assert (alone.code, stopped.code) == (0, ExitCode.INTERRUPTED), alone.log + stopped.log
    assert finished.code == ExitCode.DONE, finished.log
    one, two = steps(prompts, "ppo"), steps(prompts, "ppo-two")
    for name in ("loss", "reward", "kl", "klCoefficient", "value", "answerTokens"):
        assert [line[name] for line in two] == pytest.approx([m[name] for m in one], abs=2e-5), name
    for name in ("entropy", "clipFraction", "valueLoss", "explainedVariance", "missingEos"):
        assert all(name in line for line in one), name
    weights, others = prompts.weights("ppo"), prompts.weights("ppo-two")
    for name, tensor in weights.items():
        torch.testing.assert_close(others[name], tensor, atol=2e-4, rtol=0)
    assert alone.message.output is not None
    base = AutoModelForCausalLM.from_pretrained(prompts.root / "model")
    folder = alone.message.output.uri.removeprefix("file://")
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "`is_gradient_checkpointing`", FutureWarning)  # PEFT's
        PeftModel.from_pretrained(base, folder)


@pytest.mark.long
def test_full_weights_are_trained_against_a_reward_model(prompts: Sandbox) -> None:
    training = {**TRAINING, "learningRate": "1e-3", "precision": "BF16", "packing": False}
    run_file = ppo(prompts, "ppo-full", adapter={"type": "None"}, training=training)
    ended = prompts.launch(run_file)
    assert ended.code == ExitCode.DONE, ended.log
    assert len(steps(prompts, "ppo-full")) == 6
