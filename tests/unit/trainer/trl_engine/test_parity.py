"""Both engines take the same steps: the same rows, rates and losses, and the same parameters."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

from tests.unit.trainer.engine_support import Sandbox
from tests.unit.trainer.test_adapter_runs import Ran, run_job
from tests.unit.trainer.trl_engine.support import LORA, TRL, make_sandbox, steps_of

WHOLE: dict[str, Any] = {"epochs": "1", "globalBatchSize": 64, "warmupRatio": "0"}
"""One step over all rows."""
UNEVEN: dict[str, Any] = {
    "epochs": "2",
    "globalBatchSize": 16,
    "warmupRatio": "0.4",
    "microBatchTokens": 128,
}
"""Steps of 16, 16 and 10 units, in passes that are no divisors of them."""


ONLINE: dict[str, Any] = {
    "epochs": "2",
    "globalBatchSize": 16,
    "warmupRatio": "0",
    "microBatchTokens": None,
}
GRPO: dict[str, Any] = {
    "generations": 3,
    "maxNewTokens": 8,
    "rewardFunctions": [
        {"type": "Length", "maxTokens": 4},
        {"type": "Regex", "pattern": "w1", "weight": "2"},
    ],
}


@pytest.fixture(scope="module", autouse=True)
def _one_thread() -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="module")
def sandboxes(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Sandbox]:
    return {
        method: make_sandbox(tmp_path_factory.mktemp(method), method=method)
        for method in ("SFT", "DPO", "KTO", "Reward", "GRPO")
    }


def parameters(ran: Ran) -> dict[str, torch.Tensor]:
    (weights,) = [*ran.run.glob("*/adapter_model.safetensors"), *ran.run.glob("model/*tensors")]
    return load_file(weights)


def assert_same_steps(native: Ran, trl: Ran) -> None:
    ours, theirs = steps_of(native), steps_of(trl)
    assert len(ours) == len(theirs)
    names = ["step", "epoch", "tokens", "skipped"]
    if "rewardMean" not in ours[0] and "centerLoss" not in ours[0]:
        names.append("label_tokens")  # a reward model learns no tokens
    for name in names:
        assert [line[name] for line in ours] == [line[name] for line in theirs]
    for name, tolerance in (("learning_rate", 1e-12), ("loss", 1e-4), ("grad_norm", 1e-3)):
        found = [line[name] for line in theirs]
        assert found == pytest.approx([line[name] for line in ours], abs=tolerance), name
    one, other = parameters(native), parameters(trl)
    assert one.keys() == other.keys()
    for name, tensor in one.items():
        torch.testing.assert_close(other[name], tensor, atol=2e-4, rtol=0)


CASES: dict[str, tuple[str, dict[str, Any], dict[str, Any]]] = {
    "sft-whole": ("SFT", LORA, {"training": WHOLE}),
    "sft-uneven": ("SFT", LORA, {"training": UNEVEN}),
    "sft-linear": (
        "SFT",
        {"type": "DoRA", "rank": 4},
        {
            "training": {
                **UNEVEN,
                "scheduler": "Linear",
                "minLearningRateRatio": "0.3",
                "weightDecay": "0.1",
                "maxGradNorm": "0.05",
            }
        },
    ),
    "sft-full": ("SFT", {"type": "None"}, {"training": {**UNEVEN, "learningRate": "1e-3"}}),
    "dpo-whole": ("DPO", LORA, {"training": WHOLE}),
    "dpo-uneven": ("DPO", LORA, {"training": {**UNEVEN, "gradientCheckpointing": True}}),
    "dpo-hinge": (
        "DPO",
        LORA,
        {
            "training": {**WHOLE, "epochs": "3", "microBatchTokens": 8192, "scheduler": "Constant"},
            "dpo": {"loss": "Hinge", "beta": "0.3", "sftWeight": "0.5"},
        },
    ),
    "kto": (
        "KTO",
        LORA,
        {
            "training": {**WHOLE, "epochs": "3", "microBatchTokens": 8192},
            "kto": {"beta": "0.3"},
        },
    ),
    "reward-uneven": ("Reward", LORA, {"training": UNEVEN}),
    "reward-margin": (
        "Reward",
        {"type": "None"},
        {
            "training": {**UNEVEN, "learningRate": "1e-3"},
            "reward": {"margin": True, "centerCoefficient": "0"},
            "data": {"train": [{"uri": "s3://b/rows", "format": "Ranking"}]},
        },
    ),
    "grpo": ("GRPO", LORA, {"training": ONLINE, "grpo": GRPO}),
    "grpo-full": (
        "GRPO",
        {"type": "None"},
        {
            "training": {**ONLINE, "learningRate": "1e-4"},
            "grpo": {
                **GRPO,
                "lossType": "Dapo",
                "scaleRewards": False,
                "temperature": "0.8",
                "topP": "0.9",
            },
        },
    ),
    "dpo-full": ("DPO", {"type": "None"}, {"training": {**UNEVEN, "learningRate": "1e-3"}}),
}


@pytest.mark.parametrize("name", CASES)
def test_both_engines_take_the_same_steps(sandboxes: dict[str, Sandbox], name: str) -> None:
    method, adapter, spec = CASES[name]
    sandbox = sandboxes[method]
    training = spec["training"] | {"packing": False}
    rest = {"method": method, **spec}
    native = run_job(sandbox, f"{name}-native", adapter, **{**rest, "training": training})
    trl = run_job(sandbox, f"{name}-trl", adapter, **{**rest, "training": training | TRL})
    assert_same_steps(native, trl)
    assert trl.message.evaluation is not None
    assert native.message.evaluation is not None
    assert trl.message.evaluation.before == native.message.evaluation.before
    if method == "GRPO":
        for name in ("reward", "kl", "clipFraction", "answerTokens"):
            told = [line[name] for line in steps_of(trl)]
            assert told == pytest.approx([line[name] for line in steps_of(native)], abs=1e-4), name
    if method == "DPO":
        rewards = ("margin", "chosenReward", "rejectedReward")
        for ours, theirs in zip(steps_of(native), steps_of(trl), strict=True):
            assert [theirs[n] for n in rewards] == pytest.approx(
                [ours[n] for n in rewards], abs=1e-4
            )


@pytest.mark.parametrize("kind", ["LoRA", "DoRA"])
def test_a_continued_adapter_is_its_own_reference(sandboxes: dict[str, Sandbox], kind: str) -> None:
    sandbox = sandboxes["DPO"]
    start = run_job(
        sandbox,
        f"start-{kind}",
        {"type": kind, "rank": 4},
        method="DPO",
        training={"maxSteps": 3, "globalBatchSize": 64},
    ).job
    options: dict[str, Any] = {"method": "DPO", "training": UNEVEN | {"packing": False}}
    options["recipe"] = {"LoRA": "b", "DoRA": "c"}[kind]  # whose reference pass is kept
    native = run_job(sandbox, f"{kind}-native", {}, start, **options)
    options["training"] |= TRL
    trl = run_job(sandbox, f"{kind}-trl", {}, start, **options)
    assert_same_steps(native, trl)
    assert steps_of(trl)[0]["loss"] == pytest.approx(0.693147, abs=1e-6)


def test_nothing_of_trl_is_left_in_what_is_published(sandboxes: dict[str, Sandbox]) -> None:
    """TRL writes the tokenizer's special tokens into the model's configuration."""
    runs = {}
    for name, engine in (("left-native", "Native"), ("left-trl", "TRL")):
        training = {"maxSteps": 1, "packing": False, "engine": engine}
        runs[name] = run_job(
            sandboxes["DPO"], name, {"type": "None"}, method="DPO", training=training
        )
    folders = [ran.run / "model" for ran in runs.values()]
    files = [sorted(p.relative_to(f).as_posix() for p in f.rglob("*")) for f in folders]
    assert files[0] == files[1]
    for name in ("config.json", "generation_config.json"):
        assert (folders[0] / name).read_text() == (folders[1] / name).read_text()
    written = {Path(record.path).suffix for record in runs["left-trl"].manifest.files}
    assert written <= {".json", ".jsonl", ".md", ".png", ".safetensors", ".jinja"}
