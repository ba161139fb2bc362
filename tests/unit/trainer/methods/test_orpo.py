"""ORPO's loss: that of TRL on the same batch, and of the paper computed row by row."""

import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from finetune_api.spec import Orpo
from finetune_trainer.engine.batches import MicroBatch, make_batch
from finetune_trainer.methods import orpo
from finetune_trainer.methods.scorer import LabelScorer
from finetune_trainer.prepared import PreparedSplit
from transformers import AutoTokenizer

from tests.unit.trainer.methods.support import (
    PAIRS,
    TRL_OPTIONS,
    Models,
    gradient_of,
    loss_of,
    pairs_of,
    random_pairs,
    texts,
)

OBJECTIVE = orpo.objective(Orpo(beta="0.3"))


def batch_of(split: PreparedSplit, *, packing: bool = True) -> MicroBatch:
    units = np.arange(split.units)
    return make_batch(split, units, units.tolist(), packing=packing, prompts=True)


def trl_batch(models: Models, folder: Path) -> tuple[Any, dict[str, Any]]:
    """(TRL's trainer, one batch of it)."""
    from datasets import Dataset
    from trl.experimental.orpo import ORPOConfig, ORPOTrainer

    trainer = ORPOTrainer(
        model=models.policy,
        args=ORPOConfig(
            output_dir=str(folder),
            per_device_train_batch_size=PAIRS,
            beta=0.3,
            max_length=64,
            **TRL_OPTIONS,
            remove_unused_columns=False,
        ),
        train_dataset=Dataset.from_list(texts()),
        processing_class=AutoTokenizer.from_pretrained(models.folder),
    )
    return trainer, trainer.data_collator(list(trainer.train_dataset))


def ids_of(batch: dict[str, Any], side: str) -> list[tuple[list[int], int]]:
    """(token ids, position of the first label) of each row of one side."""
    found = []
    columns = (batch[f"{side}_{name}"] for name in ("input_ids", "attention_mask", "labels"))
    for ids, mask, labels in zip(*columns, strict=True):
        size = int(mask.sum())
        found.append((ids[:size].tolist(), int((labels[:size] != -100).nonzero()[0])))
    return found


@pytest.mark.filterwarnings("ignore")  # TRL's and datasets' own
@pytest.mark.parametrize("packing", [True, False])
def test_loss_and_gradients_are_those_of_trl(models: Models, tmp_path: Path, packing: bool) -> None:
    trainer, batch = trl_batch(models, tmp_path)
    sides = zip(ids_of(batch, "chosen"), ids_of(batch, "rejected"), strict=True)
    split = pairs_of(
        [
            {"prompt_ids": c[:start], "chosen_ids": c[start:], "rejected_ids": r[start:]}
            for (c, start), (r, _) in sides
        ]
    )
    expected, metrics = trainer.get_batch_loss_metrics(models.policy, batch)

    found, means = loss_of(models.policy, batch_of(split, packing=packing), OBJECTIVE)

    torch.testing.assert_close(found, expected, atol=1e-5, rtol=0)
    torch.testing.assert_close(
        gradient_of(models.policy, found),
        gradient_of(models.policy, expected),
        atol=1e-5,
        rtol=1e-4,
    )
    assert float(means["crossEntropy"]) == pytest.approx(float(metrics["nll_loss"]), abs=1e-5)
    assert float(means["logOddsRatio"]) == pytest.approx(
        float(metrics["log_odds_chosen"]), abs=1e-5
    )
    assert float(means["accuracy"]) == pytest.approx(float(metrics["rewards/accuracies"]))


def test_loss_is_the_papers_row_by_row(models: Models) -> None:
    split = random_pairs()
    odds, whole, tokens_read = [], 0.0, 0
    for row in range(len(split)):
        tokens, spans = split.row(row)
        ids = torch.tensor(tokens.astype(np.int64))[None]
        with torch.no_grad():
            scores = models.policy(input_ids=ids).logits[0].double().log_softmax(-1)
        each = [float(scores[i - 1, ids[0, i]]) for i in range(1, ids.shape[1])]
        answer = each[int(spans[0, 0]) - 1 :]
        probability = math.exp(sum(answer) / len(answer))
        odds.append(math.log(probability / (1 - probability)))
        if row % 2 == 0:
            whole, tokens_read = whole - sum(each), tokens_read + len(each)
    ratios = [odds[i] - odds[i + 1] for i in range(0, len(odds), 2)]
    preference = -sum(math.log(1 / (1 + math.exp(-ratio))) for ratio in ratios) / PAIRS

    found, means = loss_of(models.policy, batch_of(split), OBJECTIVE)

    assert float(found.detach()) == pytest.approx(whole / tokens_read + 0.3 * preference, abs=1e-5)
    assert float(means["oddsRatioLoss"].detach()) == pytest.approx(preference, abs=1e-5)


@pytest.mark.parametrize("value", [-1e-30, -1e-9, -0.5, -0.7, -50.0, -1e4])
def test_log1mexp_keeps_its_digits_and_a_finite_gradient(value: float) -> None:
    at = torch.tensor(value, requires_grad=True)

    found = orpo.log1mexp(at)
    (slope,) = torch.autograd.grad(found, at)

    expected = math.log(-math.expm1(value)) if value > -0.7 else math.log1p(-math.exp(value))
    assert float(found.detach()) == pytest.approx(expected, rel=1e-5, abs=1e-30)
    assert bool(torch.isfinite(slope))


def test_an_answer_that_is_certain_has_a_finite_loss() -> None:
    at = torch.zeros((), requires_grad=True)
    (slope,) = torch.autograd.grad(orpo.log1mexp(at), at)
    assert bool(torch.isfinite(orpo.log1mexp(at)))
    assert bool(torch.isfinite(slope))


def test_a_dummy_batch_gives_zeros_that_reach_every_parameter(models: Models) -> None:
    split = random_pairs()
    batch = make_batch(split, np.arange(split.units), [], packing=True, prompts=True)

    sums = OBJECTIVE.sums(LabelScorer(models.policy), batch)

    assert set(OBJECTIVE.counts(batch).values()) == {0}
    assert all(float(value.detach()) == 0 for value in sums.values())
    assert not gradient_of(models.policy, sums["oddsRatioLoss"]).any()
