"""KTO's loss: that of TRL where its micro-batch is the global batch, and the paper's weights."""

import math
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from finetune_api.spec import Kto
from finetune_trainer.arrays import Float32
from finetune_trainer.engine.batches import make_batch
from finetune_trainer.engine.distributed import Comm
from finetune_trainer.engine.scoring import SplitRows, measure_split, measure_units, row_logprobs
from finetune_trainer.methods import kto
from finetune_trainer.methods.scorer import LabelScorer
from finetune_trainer.prepared import PreparedSplit
from transformers import AutoTokenizer

from tests.unit.trainer.methods.support import (
    CPU,
    SETTINGS,
    TRL_OPTIONS,
    Models,
    gradient_of,
    loss_of,
    split_of,
    texts,
)

LABELS = [True, False, True, True, False]
VALUES: Float32 = np.array(LABELS, np.float32)
WEIGHTED = Kto(beta="0.3", desirable_weight="1.5", undesirable_weight="0.5")


def split_from(batch: dict[str, Any], prefix: str = "") -> PreparedSplit:
    """The rows of one of TRL's batches."""
    rows = []
    names = ("input_ids", "attention_mask", "completion_mask")
    for ids, mask, answer in zip(*(batch[prefix + name] for name in names), strict=True):
        size = int(mask.sum())
        rows.append((ids[:size].tolist(), int(answer[:size].nonzero()[0])))
    return split_of(rows, values=VALUES)


def trl_trainer(models: Models, folder: Path) -> Any:
    from datasets import Dataset
    from trl.trainer.kto_config import KTOConfig
    from trl.trainer.kto_trainer import KTOTrainer

    rows = [
        {"prompt": row["prompt"], "completion": row["chosen"], "label": label}
        for row, label in zip(texts(), LABELS, strict=True)
    ]
    config = KTOConfig(
        output_dir=str(folder),
        per_device_train_batch_size=len(LABELS),
        beta=0.3,
        desirable_weight=1.5,
        undesirable_weight=0.5,
        **TRL_OPTIONS,
        disable_dropout=True,
    )
    return KTOTrainer(
        model=models.policy,
        ref_model=models.reference,
        args=config,
        train_dataset=Dataset.from_list(rows),
        processing_class=AutoTokenizer.from_pretrained(models.folder),
    )


def with_reference(model: Any, split: PreparedSplit) -> SplitRows:
    units = np.arange(split.units)
    known = row_logprobs(
        model, split, units, settings=SETTINGS, device=CPU, before_each=lambda: None
    )
    return SplitRows(split, known)


def our_loss(
    models: Models, rows: SplitRows, partners: SplitRows, settings: Kto = WEIGHTED
) -> tuple[torch.Tensor, Any, float]:
    """(loss, means, estimate of the KL)."""
    objective = kto.objective(settings, VALUES)
    assert objective.preliminary is not None
    units = np.arange(rows.split.units)
    given = measure_units(
        Comm.alone(),
        models.policy,
        partners,
        units,
        objective=objective.preliminary,
        settings=SETTINGS,
    )
    batch = make_batch(
        rows.split, units, units.tolist(), packing=True, reference=rows.reference, given=given
    )
    return *loss_of(models.policy, batch, objective), given[kto.KL]


@pytest.mark.filterwarnings("ignore")  # TRL's and datasets' own
def test_loss_gradients_and_kl_are_those_of_trl(models: Models, tmp_path: Path) -> None:
    trainer = trl_trainer(models, tmp_path)
    batch = trainer.data_collator(list(trainer.train_dataset))
    expected = trainer.compute_loss(models.policy, batch)
    rows = with_reference(models.reference, split_from(batch))
    partners = with_reference(models.reference, split_from(batch, "KL_"))

    found, means, estimate = our_loss(models, rows, partners)

    told = {name: values[-1] for name, values in trainer._metrics["eval"].items()}
    assert max(0.0, estimate) == pytest.approx(told["kl"], abs=1e-5)
    torch.testing.assert_close(found, expected, atol=1e-5, rtol=0)
    torch.testing.assert_close(
        gradient_of(models.policy, found),
        gradient_of(models.policy, trainer.compute_loss(models.policy, batch)),
        atol=1e-5,
        rtol=1e-4,
    )
    assert float(means["desirableReward"]) == pytest.approx(told["rewards/chosen"], abs=1e-5)


def plain_rows() -> PreparedSplit:
    rng = np.random.default_rng(4)
    ids = [[int(n) for n in rng.integers(4, 128, 6)] for _ in LABELS]
    masks = [[0, 0, 0, 1, 1, 1]] * len(ids)
    return split_from(
        {
            "input_ids": torch.tensor(ids),
            "attention_mask": torch.ones(len(ids), 6, dtype=torch.int64),
            "completion_mask": torch.tensor(masks),
        }
    )


@pytest.mark.parametrize("estimate", [2.0, 0.0, -2.0])
def test_loss_is_the_papers_about_the_reference_point(models: Models, estimate: float) -> None:
    split = plain_rows()
    rows = with_reference(models.reference, split)
    assert rows.reference is not None
    policy = with_reference(models.policy, split).reference
    assert policy is not None
    units = np.arange(split.units)
    batch = make_batch(
        split,
        units,
        units.tolist(),
        packing=True,
        reference=rows.reference,
        given={kto.KL: estimate},
    )

    found, _ = loss_of(models.policy, batch, kto.objective(WEIGHTED, VALUES))

    expected = 0.0
    for gain, label in zip((policy - rows.reference).tolist(), LABELS, strict=True):
        sign, weight = (1, 1.5) if label else (-1, 0.5)
        point = max(0.0, estimate)
        expected += weight * (1 - 1 / (1 + math.exp(-0.3 * sign * (gain - point))))
    assert float(found.detach()) == pytest.approx(expected / len(LABELS), abs=1e-6)


def test_absent_weights_make_both_kinds_weigh_alike() -> None:
    assert kto.class_weights(Kto(), VALUES) == (1.0, 1.5)
    assert kto.class_weights(Kto(), 1 - VALUES) == (1.5, 1.0)
    assert kto.class_weights(WEIGHTED, VALUES) == (1.5, 0.5)


def test_a_dummy_batch_gives_zeros_that_reach_every_parameter(models: Models) -> None:
    split = plain_rows()
    batch = make_batch(split, np.arange(split.units), [], packing=True)
    objective = kto.objective(WEIGHTED, VALUES)
    assert objective.preliminary is not None
    for each in (objective, objective.preliminary, kto.DESIRABLE_ROWS):
        sums = each.sums(LabelScorer(models.policy), batch)
        assert set(each.counts(batch).values()) == {0}
        assert all(float(value.detach()) == 0 for value in sums.values())
        assert not gradient_of(models.policy, next(iter(sums.values()))).any()


def test_desirable_rows_alone_are_measured(models: Models) -> None:
    split = plain_rows()
    logprobs = with_reference(models.policy, split).reference
    assert logprobs is not None

    means = measure_split(
        Comm.alone(),
        models.policy,
        split,
        objective=kto.DESIRABLE_ROWS,
        settings=replace(SETTINGS, micro_batch_tokens=12),
    )

    assert means["crossEntropy"] == pytest.approx(-logprobs[VALUES > 0].sum() / 9, abs=1e-5)
