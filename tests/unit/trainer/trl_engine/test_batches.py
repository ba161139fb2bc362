"""What TRL is given: our tokens, our loss masks, our order."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from finetune_trainer.engine.plan import Mixture, Plan
from finetune_trainer.trl_engine.batches import dpo_batch, labels_in, sft_batch, tokens_in
from finetune_trainer.trl_engine.order import StepBatches, units_per_pass
from finetune_trainer.trl_engine.watch import StepWatch

from tests.unit.trainer.engine_support import make_split, mixed_lengths

PAIRS = make_split([6, 8, 5, 4], rows_per_unit=2)
TWO_TURNS = replace(
    PAIRS,
    span_starts=np.array([1, 4, 3, 3, 2], np.int32),
    span_ends=np.array([2, 6, 8, 5, 4], np.int32),
    span_offsets=np.array([0, 2, 3, 4, 5], np.int64),
)
"""The first row has two turns that are learnt, and one between them that is not."""


def test_labels_lie_on_the_spans_alone() -> None:
    rows = replace(TWO_TURNS, unit_offsets=np.arange(5))
    batch = sft_batch(rows, np.array([2, 0]))
    assert batch["input_ids"].shape == (2, 6)
    tokens, _ = rows.row(0)
    assert batch["input_ids"][1].tolist() == tokens.tolist()
    assert batch["attention_mask"].tolist() == [[1] * 5 + [0], [1] * 6]
    assert (batch["labels"] != -100).tolist() == [
        [False, False, False, True, True, False],
        [False, True, False, False, True, True],
    ]
    learnt = batch["labels"] != -100
    assert torch.equal(batch["labels"][learnt], batch["input_ids"][learnt])
    assert (tokens_in(batch), labels_in(batch)) == (11, 5)


def test_pairs_are_chosen_rows_and_then_rejected_ones() -> None:
    batch = dpo_batch(TWO_TURNS, np.array([1, 0]))
    order = [2, 0, 3, 1]
    for line, row in enumerate(order):
        tokens, _ = TWO_TURNS.row(row)
        assert batch["input_ids"][line, : len(tokens)].tolist() == tokens.tolist()
        assert int(batch["attention_mask"][line].sum()) == len(tokens)
    assert batch["completion_mask"][1].tolist() == [0, 1, 0, 0, 1, 1, 0, 0]
    assert labels_in(batch) == 2 + 3 + 2 + 5


def test_a_row_of_one_label_at_its_start_has_none_that_anything_predicts() -> None:
    split = replace(make_split([4]), span_starts=np.array([0], np.int32))
    assert labels_in(sft_batch(split, np.array([0]))) == 3


@pytest.mark.parametrize(("units", "batch", "per_pass"), [(42, 16, 3), (8, 8, 8), (5, 64, 2)])
def test_passes_of_a_step_hold_its_units_of_our_order(
    units: int, batch: int, per_pass: int
) -> None:
    mixture = Mixture.concat(units)
    plan = Plan.make(mixture=mixture, batch=batch, seed=3, epochs="2", max_steps=None)
    batches = StepBatches(plan, per_pass)
    step = 0
    for epoch in range(2):
        batches.epoch = epoch
        passes = list(batches)
        assert len(passes) == len(batches)
        assert max(map(len, passes)) <= per_pass
        while passes:
            now, passes = passes[: batches.passes_in_step], passes[batches.passes_in_step :]
            assert [unit for units_of_pass in now for unit in units_of_pass] == plan.units_of(
                step
            ).tolist()
            step += 1
    assert step == plan.total_steps


def test_a_pass_holds_no_more_tokens_than_asked_for() -> None:
    split = make_split(mixed_lengths(20), rows_per_unit=2)
    longest = int(split.lengths.max())
    assert units_per_pass(split, 4 * longest) == 2
    assert units_per_pass(split, 4 * longest - 1) == 1
    assert units_per_pass(split, 16) == 1


@pytest.mark.parametrize("wrong", [float("nan"), float("inf")])
@pytest.mark.parametrize("where", ["gradient", "loss"])
def test_a_step_that_is_not_finite_moves_nothing(wrong: float, where: str) -> None:
    watch = StepWatch(lambda: None, lambda *_: None)
    kept = torch.nn.Parameter(torch.ones(2))
    optimizer = torch.optim.AdamW([kept], lr=0.1)
    for value in (1.0, wrong):
        watch.begin_step([])
        watch.after_pass(torch.tensor(value if where == "loss" else 1.0))
        kept.grad = torch.tensor([1.0, value if where == "gradient" else 1.0])
        before = kept.detach().clone()
        watch.on_pre_optimizer_step(None, None, None, optimizer=optimizer)
        optimizer.step()
        assert torch.equal(before, kept) is (value is wrong)
