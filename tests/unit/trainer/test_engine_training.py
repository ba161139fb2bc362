"""One engine: losses are exact, layouts do not matter, runs repeat bit for bit."""

import math
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from finetune_api.errors import UserError
from finetune_api.reasons import Reason
from finetune_api.spec import Adapter, AdapterType, Precision, Training
from finetune_trainer.checkpoint.state import capture, restore
from finetune_trainer.engine.batches import MicroBatch, make_batch
from finetune_trainer.engine.determinism import seed_everything
from finetune_trainer.engine.distributed import Comm
from finetune_trainer.engine.interrupt import StopFlag
from finetune_trainer.engine.model import ModelSettings, load_model, trainable
from finetune_trainer.engine.plan import Mixture, Plan
from finetune_trainer.engine.scoring import measure_split
from finetune_trainer.engine.settings import StopRequestedError
from finetune_trainer.engine.step import Engine, Rows, StepResult
from finetune_trainer.methods import sft
from finetune_trainer.methods.scorer import LabelScorer
from torch.nn import functional

from tests.unit.trainer.engine_support import make_model, make_split, mixed_lengths

SPLIT = make_split(mixed_lengths(21))
CPU = torch.device("cpu")
LORA = Adapter(rank=4, alpha=8, dropout="0")


@pytest.fixture(scope="module", autouse=True)
def _one_thread() -> Any:
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_model(tmp_path_factory.mktemp("model"))


def make_engine(
    folder: Path,
    *,
    adapter: Adapter = LORA,
    tokens: int = 64,
    stop: StopFlag | None = None,
    **t: Any,
) -> Engine:
    options = {"epochs": "1.5", "global_batch_size": 8, "learning_rate": "1e-2"}
    options |= {"precision": Precision.FP32, **t}
    training = Training(**options)
    seed_everything(0)
    model = load_model(folder, ModelSettings.of(adapter, training), CPU)
    plan = Plan.make(
        mixture=Mixture.concat(SPLIT.units),
        batch=8,
        seed=training.seed,
        epochs=training.epochs,
        max_steps=None,
    )
    return Engine(
        Comm.alone(stop),
        model,
        Rows(SPLIT, plan),
        objective=sft.OBJECTIVE,
        training=training,
        micro_batch_tokens=tokens,
    )


def run(engine: Engine, steps: int | None = None) -> list[StepResult]:
    results: list[StepResult] = []
    while not engine.finished and (steps is None or len(results) < steps):
        results.append(engine.run_step())
    return results


def weights(engine: Engine) -> dict[str, torch.Tensor]:
    return {name: parameter.detach().clone() for name, parameter in trainable(engine.model)}


def same_bits(one: dict[str, torch.Tensor], other: dict[str, torch.Tensor]) -> bool:
    return one.keys() == other.keys() and all(torch.equal(one[n], other[n]) for n in one)


def naive_losses(model: torch.nn.Module, rows: Any) -> list[tuple[float, int]]:
    """(sum of -log p, labels) of each row, alone in a forward pass."""
    found = []
    for row in rows:
        tokens, spans = SPLIT.row(int(row))
        ids = torch.tensor(tokens.astype(np.int64))[None]
        with torch.no_grad():
            scores = functional.log_softmax(model(input_ids=ids).logits[0].double(), -1)
        (start, end), *_ = spans.tolist()
        terms = [-float(scores[i - 1, int(tokens[i])]) for i in range(start, end)]
        found.append((sum(terms), len(terms)))
    return found


def test_loss_is_the_mean_cross_entropy_of_all_label_tokens_row_by_row(folder: Path) -> None:
    engine = make_engine(folder)
    expected = naive_losses(engine.model.eval(), engine.rows.plan.units_of(0))
    mean = sum(total for total, _ in expected) / sum(count for _, count in expected)
    assert run(engine, 1)[0].loss == pytest.approx(mean, abs=1e-5)
    everything = naive_losses(make_engine(folder).model.eval(), range(len(SPLIT)))
    mean = sum(total for total, _ in everything) / sum(count for _, count in everything)
    fresh = make_engine(folder)
    measured = measure_split(
        fresh.comm, fresh.model, SPLIT, objective=sft.OBJECTIVE, settings=fresh.settings
    )
    assert measured[sft.CROSS_ENTROPY] == pytest.approx(mean, abs=1e-5)


def per_row(model: torch.nn.Module, batch: MicroBatch, boundaries: list[int]) -> list[float]:
    """Sums of each packed row."""
    with torch.no_grad():
        logits = LabelScorer(model).label_logits(batch).float()
    targets = batch.targets.flatten()[batch.label_positions]
    terms = functional.cross_entropy(logits, targets, reduction="none")
    row_of = np.searchsorted(boundaries, batch.label_positions.numpy(), side="right")
    return [float(terms[torch.from_numpy(row_of == n)].sum()) for n in range(len(boundaries))]


def test_packed_rows_do_not_see_each_other_but_would_without_positions(folder: Path) -> None:
    model = make_engine(folder).model.eval()
    rows, chosen = np.arange(len(SPLIT)), [0, 1, 2]
    ends = [int(n) for n in SPLIT.row_offsets[1:4]]
    batch = make_batch(SPLIT, rows, chosen, packing=True)
    tokens = batch.input_ids.clone()
    tokens[0, 0] = (tokens[0, 0] + 1) % 100 + 4  # a prompt token of the first row
    changed = replace(batch, input_ids=tokens)

    before, after = per_row(model, batch, ends), per_row(model, changed, ends)
    assert abs(before[0] - after[0]) > 1e-3
    assert before[1:] == pytest.approx(after[1:], abs=1e-6)

    straight = torch.arange(tokens.shape[1])[None]
    one_row = torch.tensor([0, tokens.shape[1]])
    leaking = [
        per_row(model, replace(each, position_ids=straight, row_bounds=one_row), ends)
        for each in (batch, changed)
    ]
    assert abs(leaking[0][1] - leaking[1][1]) > 1e-4


def test_padding_and_smaller_micro_batches_give_the_steps_and_losses_of_packing(
    folder: Path,
) -> None:
    packed = make_engine(folder, tokens=256)
    reference = run(packed)
    assert len(reference) == packed.rows.plan.total_steps == 5
    for other in (make_engine(folder, packing=False), make_engine(folder, tokens=30)):
        results = run(other)
        assert [r.loss for r in results] == pytest.approx([r.loss for r in reference], abs=1e-5)
        assert [r.labels for r in results] == [r.labels for r in reference]
        for name, tensor in weights(packed).items():
            torch.testing.assert_close(weights(other)[name], tensor, atol=1e-5, rtol=0)


def test_the_same_seed_gives_the_same_bits_and_a_resume_continues_them(folder: Path) -> None:
    adapter = Adapter(rank=4, alpha=8, dropout="0.3")
    whole = make_engine(folder, adapter=adapter)
    results = run(whole)
    again = make_engine(folder, adapter=adapter)
    assert run(again) == results
    assert same_bits(weights(again), weights(whole))

    first = make_engine(folder, adapter=adapter)
    run(first, 2)
    resumed = make_engine(folder, adapter=adapter)
    resumed.step = first.step
    restore(resumed, capture(first), applied=first.applied)
    assert run(resumed) == results[2:]
    assert same_bits(weights(resumed), weights(whole))

    other_seed = make_engine(folder, adapter=adapter, seed=7)
    assert [r.loss for r in run(other_seed)] != [r.loss for r in results]


def test_full_weights_train_in_fp32_and_bf16_computes_nearly_the_same(folder: Path) -> None:
    adapter = Adapter(type=AdapterType.NONE)
    exact = run(make_engine(folder, adapter=adapter, gradient_checkpointing=False))
    engine = make_engine(folder, adapter=adapter, precision=Precision.BF16)
    rounded = run(engine)
    assert {p.dtype for p in engine.model.parameters()} == {torch.float32}
    assert exact[-1].loss < exact[0].loss - 0.1
    assert [r.loss for r in rounded] == pytest.approx([r.loss for r in exact], rel=0.03)
    assert [r.loss for r in rounded] != [r.loss for r in exact]


def test_a_step_that_is_not_finite_moves_nothing_and_is_counted(folder: Path) -> None:
    engine = make_engine(folder)
    run(engine, 1)
    before = weights(engine)
    broken = next(p for _, p in trainable(engine.model))
    kept = broken.detach().clone()
    broken.data.fill_(math.nan)
    result = run(engine, 1)[0]
    assert result.skipped
    assert (engine.step, engine.applied) == (2, 1)
    broken.data.copy_(kept)
    assert same_bits(weights(engine), before)
    assert not run(engine, 1)[0].skipped
    assert not same_bits(weights(engine), before)


def test_a_stop_between_micro_batches_leaves_the_last_step_intact(folder: Path) -> None:
    stop = StopFlag()
    engine = make_engine(folder, tokens=30, stop=stop)
    run(engine, 1)
    before = weights(engine)
    forward, calls = engine.wrapped.forward, []

    def stopping(batch: MicroBatch, scales: Any) -> Any:
        calls.append(batch)
        stop.is_set = True
        return forward(batch, scales)

    engine.wrapped.forward = stopping
    with pytest.raises(StopRequestedError):
        engine.run_step()
    assert len(calls) == 1
    assert engine.step == 1
    assert same_bits(weights(engine), before)
    assert all(p.grad is None for _, p in trainable(engine.model))


def test_an_unknown_target_module_is_refused_with_the_names_that_exist(folder: Path) -> None:
    adapter = Adapter(rank=4, alpha=8, dropout="0", target_modules=["query"])
    with pytest.raises(UserError, match=r"query.*down_proj.*q_proj") as caught:
        make_engine(folder, adapter=adapter)
    assert caught.value.reason is Reason.INVALID_SPEC


def test_chosen_target_modules_alone_are_trained(folder: Path) -> None:
    adapter = Adapter(rank=4, alpha=8, dropout="0", target_modules=["q_proj"])
    names = list(weights(make_engine(folder, adapter=adapter)))
    assert len(names) == 4
    assert all(".q_proj.lora_" in name for name in names)
