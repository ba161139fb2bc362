"""Reward models: TRL's loss on pairs, all pairs of a ranking, and one number read at the end."""

import math
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from finetune_api.spec import Adapter, Precision, Reward
from finetune_trainer.engine.batches import MicroBatch, make_batch
from finetune_trainer.engine.model import Head, ModelSettings, load_model
from finetune_trainer.methods import reward
from finetune_trainer.methods.scorer import LabelScorer
from finetune_trainer.prepared import PreparedSplit
from transformers import AutoModelForSequenceClassification, AutoTokenizer

from tests.unit.trainer.methods.support import (
    CPU,
    PAIRS,
    TRL_OPTIONS,
    Models,
    loss_of,
    random_pairs,
)


@pytest.fixture(scope="module")
def scoring(models: Models) -> Any:
    """A reward model with an adapter, both moved away from where they start."""
    settings = ModelSettings(
        Adapter(rank=4, alpha=8, dropout="0"), Precision.FP32, False, 0, Head.REWARD
    )
    torch.manual_seed(3)
    model = load_model(models.folder, settings, CPU)
    for parameter in model.parameters():
        if parameter.requires_grad:
            parameter.data += 0.05 * torch.randn_like(parameter)
    return model


def pairs() -> PreparedSplit:
    split = random_pairs()
    return replace(split, row_values=np.tile(np.array([1, 0], np.float32), split.units))


def ranking() -> PreparedSplit:
    """One unit of six answers of which two have the same score, and a pair."""
    split = random_pairs()
    rows = np.array([0, 6, 10], np.int64)
    values = np.array([5, 3, 3, 2, 1, 0.5, 9, 1, 4, 2], np.float32)
    return replace(split, unit_offsets=np.array([*rows[:2], 8, 10]), row_values=values)


def batch_of(split: PreparedSplit, *, packing: bool = True) -> MicroBatch:
    units = np.arange(split.units)
    return make_batch(split, units, units.tolist(), packing=packing)


def rewards_alone(model: Any, split: PreparedSplit) -> list[float]:
    """The reward of each row by itself, as Transformers' own head gives it."""
    found = []
    for row in range(len(split)):
        ids = torch.tensor(split.row(row)[0].astype(np.int64))[None]
        with torch.no_grad():
            found.append(float(model(input_ids=ids).logits[0, 0]))
    return found


@pytest.mark.parametrize("packing", [True, False])
def test_a_reward_is_what_transformers_gives_the_row_alone(scoring: Any, packing: bool) -> None:
    split = ranking()

    found = LabelScorer(scoring).row_rewards(batch_of(split, packing=packing))

    assert found.tolist() == pytest.approx(rewards_alone(scoring, split), abs=1e-5)


@pytest.mark.filterwarnings("ignore")  # TRL's and datasets' own
def test_loss_and_gradients_of_pairs_are_those_of_trl(
    models: Models, scoring: Any, tmp_path: Path
) -> None:
    from datasets import Dataset
    from trl.trainer.reward_config import RewardConfig
    from trl.trainer.reward_trainer import RewardTrainer

    split = pairs()
    rows = [
        {
            "chosen_ids": split.row(2 * unit)[0].tolist(),
            "rejected_ids": split.row(2 * unit + 1)[0].tolist(),
        }
        for unit in range(split.units)
    ]
    config = RewardConfig(
        output_dir=str(tmp_path),
        per_device_train_batch_size=PAIRS,
        center_rewards_coefficient=0.25,
        **TRL_OPTIONS,
    )
    bare = AutoModelForSequenceClassification.from_pretrained(models.folder, num_labels=1)
    trainer = RewardTrainer(
        model=bare,
        args=config,
        train_dataset=Dataset.from_list(rows),
        processing_class=AutoTokenizer.from_pretrained(models.folder),
    )
    batch = trainer.data_collator(list(trainer.train_dataset))
    scoring.config.pad_token_id = bare.config.pad_token_id
    expected = trainer.compute_loss(scoring, dict(batch))

    objective = reward.objective(Reward(center_coefficient="0.25"))
    found, means = loss_of(scoring, batch_of(split), objective)

    torch.testing.assert_close(found, expected, atol=1e-5, rtol=0)
    trained = [p for p in scoring.parameters() if p.requires_grad]
    ours, theirs = (
        torch.cat([g.flatten() for g in torch.autograd.grad(loss, trained)])
        for loss in (found, expected)
    )
    torch.testing.assert_close(ours, theirs, atol=1e-5, rtol=1e-4)
    told = {name: values[-1] for name, values in trainer._metrics["eval"].items()}
    assert float(means["accuracy"]) == pytest.approx(told["accuracy"])
    assert float(means["margin"]) == pytest.approx(told["margin"], abs=1e-5)


@pytest.mark.parametrize("margin", [False, True])
def test_every_pair_of_a_ranking_counts_once_and_equal_scores_make_none(
    scoring: Any, margin: bool
) -> None:
    split = ranking()
    rewards, values = rewards_alone(scoring, split), split.row_values.tolist()
    losses, sums = [], []
    for unit in range(split.units):
        rows = range(*split.unit_offsets[unit : unit + 2].tolist())
        for better in rows:
            for worse in rows:
                if values[better] > values[worse]:
                    gap = rewards[better] - rewards[worse]
                    gap -= (values[better] - values[worse]) if margin else 0
                    losses.append(-math.log(1 / (1 + math.exp(-gap))))
                    sums.append((rewards[better] + rewards[worse]) ** 2)
    assert len(losses) == 14 + 1 + 1

    objective = reward.objective(Reward(center_coefficient="0.5", margin=margin))
    found, _ = loss_of(scoring, batch_of(split), objective)

    expected = (sum(losses) + 0.5 * sum(sums)) / len(losses)
    assert float(found.detach()) == pytest.approx(expected, abs=1e-5)


def test_moments_are_those_of_all_answers(scoring: Any) -> None:
    split = ranking()
    rewards = np.array(rewards_alone(scoring, split))

    _, means = loss_of(scoring, batch_of(split), reward.MOMENTS)

    assert float(means["rewardMean"].detach()) == pytest.approx(rewards.mean(), abs=1e-5)
    assert float(means["rewardSquare"].detach()) == pytest.approx((rewards**2).mean(), abs=1e-5)


def test_a_dummy_batch_gives_zeros_that_reach_every_parameter(scoring: Any) -> None:
    split = pairs()
    batch = make_batch(split, np.arange(split.units), [], packing=True)
    for objective in (reward.objective(Reward()), reward.RANKING, reward.MOMENTS):
        sums = objective.sums(LabelScorer(scoring), batch)
        assert set(objective.counts(batch).values()) == {0}
        assert all(float(value.detach()) == 0 for value in sums.values())
    trained = [p for p in scoring.parameters() if p.requires_grad]
    dummy = reward.objective(Reward()).sums(LabelScorer(scoring), batch)["preferenceLoss"]
    assert not any(g.any() for g in torch.autograd.grad(dummy, trained))
