"""Whole runs with TRL: what is published, how a run ends, what stands in its log."""

import json
import math
import signal
from typing import Any

import pytest
import torch
from finetune_api.errors import UserError
from finetune_api.exits import ExitCode
from finetune_api.reasons import Reason
from peft import PeftModel
from transformers import AutoModelForCausalLM

from tests.unit.trainer.engine_support import Ended, Sandbox, cross_entropy
from tests.unit.trainer.test_adapter_runs import loaded_by_the_card, path_of
from tests.unit.trainer.test_stages_runs import end_at
from tests.unit.trainer.trl_engine.support import (
    LORA,
    TRL,
    counting,
    make_sandbox,
    run_trl,
    steps_of,
)


@pytest.fixture(scope="module")
def rows(tmp_path_factory: pytest.TempPathFactory) -> Sandbox:
    return make_sandbox(tmp_path_factory.mktemp("rows"))


@pytest.fixture(scope="module")
def pairs(tmp_path_factory: pytest.TempPathFactory) -> Sandbox:
    return make_sandbox(tmp_path_factory.mktemp("pairs"), method="DPO")


def launched(sandbox: Sandbox, name: str, **spec: Any) -> Ended:
    training = {**TRL, "epochs": "4", **spec.pop("training", {})}
    adapter = {"rank": 4, "alpha": 8, "dropout": "0"}
    ended = sandbox.launch(sandbox.run_file(name, training=training, adapter=adapter, **spec))
    assert ended.code == ExitCode.DONE, ended.log
    return ended


def assert_quiet(log: str) -> None:
    """Our lines and nothing of Transformers' or TRL's."""
    for line in filter(None, log.splitlines()):
        assert line.startswith("20"), log
    assert "it/s" not in log


def published(sandbox: Sandbox, ended: Ended) -> Any:
    """The published adapter on its base, as PEFT loads it."""
    assert ended.message.output is not None
    base = AutoModelForCausalLM.from_pretrained(sandbox.root / "model", dtype=torch.float32)
    return PeftModel.from_pretrained(base, path_of(ended.message.output.uri)).eval()


def entropies(ended: Ended) -> tuple[float, float]:
    evaluation = ended.message.evaluation
    assert evaluation is not None
    assert evaluation.before is not None
    assert evaluation.after is not None
    both = (evaluation.before.cross_entropy, evaluation.after.cross_entropy)
    return float(both[0] or "nan"), float(both[1] or "nan")


@pytest.mark.filterwarnings("ignore:`is_gradient_checkpointing`:FutureWarning")  # PEFT 0.21's
def test_sft_publishes_an_adapter_that_learnt(rows: Sandbox) -> None:
    ended = launched(rows, "sft")
    before, after = entropies(ended)
    assert after < before - 0.1
    held_out = counting(8, seed=9)
    assert cross_entropy(published(rows, ended), held_out) == pytest.approx(after, abs=2e-5)
    assert_quiet(ended.log)
    manifest = json.loads((rows.job_folder("sft") / "manifest.json").read_text())
    assert manifest["versions"]["trl"]
    assert not list(rows.job_folder("sft").rglob("*checkpoint*"))
    lines = rows.metrics("sft")
    assert [line["step"] for line in lines] == list(range(1, 25))
    assert lines[-1]["epoch"] == 4


@pytest.mark.filterwarnings("ignore:`is_gradient_checkpointing`:FutureWarning")  # PEFT 0.21's
def test_dpo_publishes_an_adapter_that_prefers_what_was_chosen(pairs: Sandbox) -> None:
    ended = launched(pairs, "dpo", method="DPO", dpo={"sftWeight": "1"})
    before, after = entropies(ended)
    assert after < before - 0.1
    held_out = counting(8, seed=9, pairs=True)
    chosen = [held_out.row(row) for row in range(0, len(held_out), 2)]
    model, total, labels = published(pairs, ended), 0.0, 0
    for tokens, _ in chosen:
        ids = torch.tensor(tokens.astype("int64"))[None]
        with torch.no_grad():
            scores = model(input_ids=ids).logits[0, 1:-1].log_softmax(-1)
        total -= float(scores.gather(1, ids[0, 2:, None]).sum())
        labels += len(tokens) - 2
    assert total / labels == pytest.approx(after, abs=2e-5)
    lines = pairs.metrics("dpo")
    assert lines[-1]["margin"] > lines[0]["margin"] == 0
    assert_quiet(ended.log)


@pytest.mark.parametrize("adapter", [LORA, {"type": "None"}], ids=["adapter", "full"])
@pytest.mark.parametrize("method", ["SFT", "DPO"])
def test_bf16_trains_adapters_and_full_weights(
    rows: Sandbox, pairs: Sandbox, method: str, adapter: dict[str, Any]
) -> None:
    sandbox = pairs if method == "DPO" else rows
    training = {"precision": "BF16", "epochs": "3", "globalBatchSize": 16, "learningRate": "3e-3"}
    name = f"bf16-{adapter['type'].lower()}"
    ran = run_trl(sandbox, name, adapter, method=method, training=training)
    found = [line["loss"] for line in steps_of(ran)]
    assert found[-1] < found[0] - 0.02
    if method == "DPO":
        assert found[0] == pytest.approx(math.log(2), abs=1e-6)
    models = loaded_by_the_card(ran.run)
    assert all(torch.isfinite(parameter).all() for parameter in models[0].parameters())


def test_a_stop_ends_within_a_step_and_the_next_run_starts_again(rows: Sandbox) -> None:
    training = {**TRL, "maxSteps": 60, "microBatchTokens": 20}
    run_file = rows.run_file("stopped", training=training)
    stopped = end_at(rows, run_file, "step 3/60", signal.SIGTERM)
    assert stopped.code == ExitCode.INTERRUPTED, stopped.log
    message = stopped.message
    assert message.checkpoint_step is None
    assert message.last_step is not None
    assert 3 <= message.last_step < 60
    assert f"{message.last_step} of 60 steps are done again" in message.message
    finished = rows.launch(run_file)
    assert finished.code == ExitCode.DONE, finished.log
    assert "step 1/60" in finished.log
    assert "stage Baseline" not in finished.log


def test_steps_that_are_not_finite_are_skipped_and_too_many_end_the_run(
    rows: Sandbox,
) -> None:
    training = {"learningRate": "1e9", "maxGradNorm": "1e9", "warmupRatio": "0", "maxSteps": 12}
    ran = run_trl(rows, "skipping", LORA, training=training | {"maxSkippedSteps": 12})
    skipped = [line["skipped"] for line in steps_of(ran)]
    assert not skipped[0]
    assert any(skipped)
    for tensor in loaded_by_the_card(ran.run)[0].parameters():
        assert torch.isfinite(tensor).all()
    with pytest.raises(UserError, match=r"maxSkippedSteps is 1\): lower") as caught:
        run_trl(rows, "diverging", LORA, training=training | {"maxSkippedSteps": 1})
    assert caught.value.reason is Reason.DIVERGED
    assert not (rows.job_folder("diverging") / "manifest.json").exists()


def test_dropout_reaches_the_adapter_and_a_seed_repeats_a_run(rows: Sandbox) -> None:
    found: dict[str, list[float]] = {}
    for name, dropout in (("dry", "0"), ("wet", "0.5"), ("again", "0.5")):
        ran = run_trl(rows, name, {**LORA, "dropout": dropout})
        found[name] = [line["loss"] for line in steps_of(ran)]
    assert found["wet"] == found["again"]
    assert found["wet"][1:] != found["dry"][1:]


def test_a_merged_model_is_published_beside_the_adapter(rows: Sandbox) -> None:
    output = {"uri": (rows.root / "store").as_uri(), "merged": True}
    ran = run_trl(rows, "merged", LORA, output=output)
    assert len(loaded_by_the_card(ran.run)) == 2
