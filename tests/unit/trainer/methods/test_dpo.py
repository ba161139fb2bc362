"""DPO's losses: those of TRL on the same batch, and of the papers where TRL differs."""

import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from finetune_api.spec import Dpo, DpoLoss
from finetune_trainer.engine.batches import MicroBatch, make_batch
from finetune_trainer.engine.scoring import row_logprobs
from finetune_trainer.methods import dpo
from finetune_trainer.methods.scorer import LabelScorer
from finetune_trainer.prepared import PreparedSplit
from transformers import AutoTokenizer

from tests.unit.trainer.methods.support import (
    CPU,
    PAIRS,
    SETTINGS,
    TRL_OPTIONS,
    Models,
    gradient_of,
    loss_of,
    pairs_of,
    random_pairs,
    texts,
)


def trl_trainer(models: Models, folder: Path, **options: Any) -> Any:
    from datasets import Dataset
    from trl.trainer.dpo_config import DPOConfig
    from trl.trainer.dpo_trainer import DPOTrainer

    config = DPOConfig(
        output_dir=str(folder),
        per_device_train_batch_size=PAIRS,
        beta=0.3,
        **TRL_OPTIONS,
        disable_dropout=True,
        **options,
    )
    return DPOTrainer(
        model=models.policy,
        ref_model=models.reference,
        args=config,
        train_dataset=Dataset.from_list(texts()),
        processing_class=AutoTokenizer.from_pretrained(models.folder),
    )


def our_batch(models: Models, split: PreparedSplit, *, packing: bool = True) -> MicroBatch:
    known = row_logprobs(
        models.reference,
        split,
        np.arange(split.units),
        settings=SETTINGS,
        device=CPU,
        before_each=lambda: None,
    )
    units = np.arange(split.units)
    return make_batch(split, units, units.tolist(), packing=packing, reference=known)


@pytest.mark.filterwarnings("ignore")  # TRL's and datasets' own
@pytest.mark.parametrize(
    ("theirs", "ours"),
    [
        ({"loss_type": ["sigmoid"]}, Dpo(beta="0.3")),
        ({"loss_type": ["hinge"]}, Dpo(beta="0.3", loss=DpoLoss.HINGE)),
        (
            {"loss_type": ["sigmoid", "sft"], "loss_weights": [1.0, 0.5]},
            Dpo(beta="0.3", sft_weight="0.5"),
        ),
    ],
    ids=["sigmoid", "hinge", "with-sft"],
)
def test_losses_and_gradients_are_those_of_trl(
    models: Models, tmp_path: Path, theirs: dict[str, Any], ours: Dpo
) -> None:
    trainer = trl_trainer(models, tmp_path, **theirs)
    rows = list(trainer.train_dataset)
    batch = trainer.data_collator(rows)
    expected = trainer.compute_loss(models.policy, batch)
    for packing in (True, False):
        found, _ = loss_of(
            models.policy, our_batch(models, pairs_of(rows), packing=packing), dpo.objective(ours)
        )
        torch.testing.assert_close(found, expected, atol=1e-5, rtol=0)
        torch.testing.assert_close(
            gradient_of(models.policy, found),
            gradient_of(models.policy, trainer.compute_loss(models.policy, batch)),
            atol=1e-5,
            rtol=1e-4,
        )


def our_loss(models: Models, split: PreparedSplit, settings: Dpo) -> tuple[torch.Tensor, Any]:
    return loss_of(models.policy, our_batch(models, split), dpo.objective(settings))


def log_ratios(models: Models, split: PreparedSplit) -> list[float]:
    """delta of each pair, row by row, with nothing of the trainer."""
    sums = []
    for row in range(len(split)):
        tokens, spans = split.row(row)
        ids = torch.tensor(tokens.astype(np.int64))[None]
        start, end = spans[0].tolist()
        each = []
        for model in (models.policy, models.reference):
            with torch.no_grad():
                scores = model(input_ids=ids).logits[0].double().log_softmax(-1)
            each.append(sum(float(scores[i - 1, ids[0, i]]) for i in range(start, end)))
        sums.append(each[0] - each[1])
    return [sums[i] - sums[i + 1] for i in range(0, len(sums), 2)]


def test_ipo_is_the_papers_over_sums_of_log_probabilities(models: Models) -> None:
    split = random_pairs()
    deltas = log_ratios(models, split)
    expected = sum((delta - 1 / (2 * 0.3)) ** 2 for delta in deltas) / PAIRS
    found, means = our_loss(models, split, Dpo(beta="0.3", loss=DpoLoss.IPO))
    assert float(found.detach()) == pytest.approx(expected, abs=1e-3)
    assert float(means["margin"]) == pytest.approx(0.3 * sum(deltas) / PAIRS, abs=1e-5)
    assert float(means["accuracy"]) == pytest.approx(sum(d > 0 for d in deltas) / PAIRS)


def test_label_smoothing_is_the_conservative_dpo_that_trl_leaves_out(models: Models) -> None:
    split = random_pairs()
    right = [1 / (1 + math.exp(-0.3 * delta)) for delta in log_ratios(models, split)]
    expected = -sum(0.8 * math.log(s) + 0.2 * math.log(1 - s) for s in right) / PAIRS
    found, _ = our_loss(models, split, Dpo(beta="0.3", label_smoothing="0.2"))
    assert float(found.detach()) == pytest.approx(expected, abs=1e-5)


def test_a_policy_that_is_its_reference_loses_ln_2(models: Models) -> None:
    same = Models(models.folder, models.reference, models.reference)
    loss, means = our_loss(same, random_pairs(), Dpo())
    assert float(loss.detach()) == pytest.approx(math.log(2), abs=1e-6)
    assert float(means["margin"]) == pytest.approx(0, abs=1e-6)


def test_a_dummy_batch_gives_zeros_that_reach_every_parameter(models: Models) -> None:
    split = random_pairs()
    objective = dpo.objective(Dpo(sft_weight="1"))
    batch = make_batch(
        split, np.arange(split.units), [], packing=True, reference=np.zeros(0, np.float32)
    )
    sums, counts = objective.sums(LabelScorer(models.policy), batch), objective.counts(batch)
    assert set(counts.values()) == {0}
    assert all(float(value.detach()) == 0 for value in sums.values())
    assert not gradient_of(models.policy, sums["preferenceLoss"]).any()
