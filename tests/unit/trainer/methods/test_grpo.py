"""GRPO's loss and advantages: those of TRL, on answers of different lengths."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from finetune_api.spec import Grpo, GrpoLoss
from finetune_trainer.arrays import Float32
from finetune_trainer.engine.batches import MicroBatch, make_batch
from finetune_trainer.methods import grpo
from finetune_trainer.methods.scorer import LabelScorer
from finetune_trainer.prepared import PreparedSplit
from transformers import AutoTokenizer

from tests.unit.trainer.methods.support import (
    TRL_OPTIONS,
    Models,
    gradient_of,
    loss_of,
    split_of,
)

GENERATIONS = 3
LONGEST = 9
TEMPERATURE = 0.7
TRL_NAMES = {GrpoLoss.GRPO: "grpo", GrpoLoss.DR_GRPO: "dr_grpo", GrpoLoss.DAPO: "dapo"}


def answers() -> PreparedSplit:
    """Two prompts with three answers each."""
    rng = np.random.default_rng(4)
    rows = []
    for _ in range(2):
        prompt = rng.integers(4, 128, int(rng.integers(3, 7))).tolist()
        for _ in range(GENERATIONS):
            answer = rng.integers(4, 128, int(rng.integers(2, LONGEST + 1))).tolist()
            rows.append(([*prompt, *answer], len(prompt)))
    return split_of(rows)


def settings(loss: GrpoLoss, beta: str = "0.3") -> Grpo:
    return Grpo(
        generations=GENERATIONS,
        loss_type=loss,
        beta=beta,
        clip_low="0.05",
        clip_high="0.1",
        max_new_tokens=LONGEST,
        temperature=str(TEMPERATURE),
    )


def batch_with(split: PreparedSplit, **facts: Float32) -> MicroBatch:
    units = np.arange(split.units)
    return make_batch(split, units, units.tolist(), packing=True, facts=facts)


def facts_of(models: Models, split: PreparedSplit) -> dict[str, Float32]:
    """What was found of each token: the answers were drawn from a policy near this one."""
    rng = np.random.default_rng(1)
    better = rng.normal(size=split.units).astype(np.float32)
    plain = batch_with(split)
    with torch.no_grad():
        old = LabelScorer(models.policy).logprobs(plain, TEMPERATURE).numpy()
        reference = LabelScorer(models.reference).logprobs(plain, TEMPERATURE).numpy()
    near = (old + 0.1 * rng.normal(size=len(old))).astype(np.float32)
    return {
        grpo.ADVANTAGE: np.repeat(better, split.label_counts),
        grpo.OLD: near,
        grpo.REFERENCE: reference,
    }


def trl_inputs(split: PreparedSplit, facts: dict[str, Float32]) -> dict[str, torch.Tensor]:
    """The same rows padded as TRL pads them: prompts to the left, answers to the right."""
    starts = split.span_starts.tolist()
    widest = max(starts)
    shape = (len(split), LONGEST)
    prompt_ids, prompt_mask = (torch.zeros(len(split), widest, dtype=torch.int64) for _ in range(2))
    completion_ids, mask = (torch.zeros(shape, dtype=torch.int64) for _ in range(2))
    padded = {name: torch.zeros(shape) for name in (grpo.OLD, grpo.REFERENCE)}
    for row, start in enumerate(starts):
        tokens = torch.from_numpy(split.row(row)[0].astype(np.int64))
        size = len(tokens) - start
        prompt_ids[row, widest - start :], prompt_mask[row, widest - start :] = tokens[:start], 1
        completion_ids[row, :size], mask[row, :size] = tokens[start:], 1
        place = slice(split.label_offsets[row], split.label_offsets[row + 1])
        for name, values in padded.items():
            values[row, :size] = torch.from_numpy(facts[name][place])
    return {
        "prompt_ids": prompt_ids,
        "prompt_mask": prompt_mask,
        "completion_ids": completion_ids,
        "completion_mask": mask,
        "advantages": torch.from_numpy(facts[grpo.ADVANTAGE][split.label_offsets[:-1]]),
        "old_per_token_logps": padded[grpo.OLD],
        "ref_per_token_logps": padded[grpo.REFERENCE],
        "num_items_in_batch": mask.sum(),
    }


def trl_trainer(models: Models, folder: Path, wanted: Grpo) -> Any:
    from datasets import Dataset
    from trl.trainer.grpo_config import GRPOConfig
    from trl.trainer.grpo_trainer import GRPOTrainer

    config = GRPOConfig(
        output_dir=str(folder),
        num_generations=GENERATIONS,
        per_device_train_batch_size=2 * GENERATIONS,
        max_completion_length=LONGEST,
        loss_type=TRL_NAMES[wanted.loss_type],
        beta=float(wanted.beta),
        epsilon=float(wanted.clip_low),
        epsilon_high=float(wanted.clip_high),
        temperature=TEMPERATURE,
        **TRL_OPTIONS,
    )
    return GRPOTrainer(
        model=models.policy,
        reward_funcs=lambda completions, **_: [0.0] * len(completions),
        args=config,
        train_dataset=Dataset.from_list([{"prompt": "w5 w6"}, {"prompt": "w7"}]),
        processing_class=AutoTokenizer.from_pretrained(models.folder),
    )


@pytest.mark.filterwarnings("ignore")  # TRL's and datasets' own
@pytest.mark.parametrize("loss", list(GrpoLoss))
def test_loss_gradients_and_what_is_told_are_those_of_trl(
    models: Models, tmp_path: Path, loss: GrpoLoss
) -> None:
    split, wanted = answers(), settings(loss)
    facts = facts_of(models, split)
    trainer = trl_trainer(models, tmp_path, wanted)
    models.policy.eval()
    inputs = trl_inputs(split, facts)
    expected = trainer._compute_loss(models.policy, inputs)

    found, means = loss_of(models.policy, batch_with(split, **facts), grpo.objective(wanted))

    torch.testing.assert_close(found, expected, atol=1e-5, rtol=0)
    told = {name: values[-1] for name, values in trainer._metrics["eval"].items()}
    assert float(means[grpo.KL]) == pytest.approx(told["kl"], abs=1e-5)
    assert float(means[grpo.CLIPPED]) == pytest.approx(told["clip_ratio/region_mean"], abs=1e-6)
    assert 0 < told["clip_ratio/region_mean"] < 1
    torch.testing.assert_close(
        gradient_of(models.policy, found),
        gradient_of(models.policy, trainer._compute_loss(models.policy, inputs)),
        atol=1e-5,
        rtol=1e-4,
    )


@pytest.mark.parametrize("scale", [True, False])
def test_advantages_are_those_of_trl(scale: bool) -> None:
    rewards = np.array([1, 0, 0.5, 2, 2, 2], np.float32)
    groups = torch.from_numpy(rewards).view(-1, GENERATIONS)
    expected = groups - groups.mean(dim=1, keepdim=True)
    if scale:
        expected = expected / (groups.std(dim=1, keepdim=True) + 1e-4)

    found = grpo.advantages(rewards, GENERATIONS, scale=scale)

    np.testing.assert_allclose(found, expected.flatten().numpy(), atol=1e-6)
    assert grpo.flat_groups(rewards, GENERATIONS) == 1


@pytest.mark.parametrize("loss", list(GrpoLoss))
def test_where_nothing_was_updated_yet_the_policy_is_what_the_answers_were_drawn_from(
    models: Models, loss: GrpoLoss
) -> None:
    split, objective = answers(), grpo.objective(settings(loss, beta="0"))
    facts = facts_of(models, split)
    with torch.no_grad():
        drawn = LabelScorer(models.policy).logprobs(batch_with(split), TEMPERATURE).numpy()
    told = {grpo.ADVANTAGE: facts[grpo.ADVANTAGE]}

    found, _ = loss_of(models.policy, batch_with(split, **told), objective)
    same, means = loss_of(models.policy, batch_with(split, **told, **{grpo.OLD: drawn}), objective)

    torch.testing.assert_close(found, same, atol=1e-6, rtol=0)
    torch.testing.assert_close(
        gradient_of(models.policy, found), gradient_of(models.policy, same), atol=1e-6, rtol=1e-5
    )
    assert float(means[grpo.CLIPPED]) == 0
