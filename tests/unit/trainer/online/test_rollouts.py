"""Answers: where they end, what they are drawn from, and what passes over them find."""

from typing import Any

import numpy as np
import pytest
import torch
from finetune_api.spec import Precision
from finetune_trainer.engine.determinism import seed_everything
from finetune_trainer.engine.distributed import Comm
from finetune_trainer.engine.interrupt import StopFlag
from finetune_trainer.engine.settings import StepSettings, StopRequestedError
from finetune_trainer.methods.scorer import LabelScorer
from finetune_trainer.online.generation import write_answers
from finetune_trainer.online.rollouts import Rollouts, roll_out, score_labels, score_rows
from torch.nn import functional

from tests.unit.trainer.online.online_support import (
    ANSWER,
    EOS,
    ShareOf,
    make_policy,
    make_prompts,
    sampling,
)

SETTINGS = StepSettings(
    seed=0, micro_batch_tokens=64, packing=True, max_grad_norm=1, precision=Precision.FP32
)


def written(policy: Any, *, seed: int = 0, comm: Comm | None = None) -> Rollouts:
    seed_everything(seed)
    return roll_out(
        comm or Comm.alone(),
        policy,
        make_prompts(6),
        np.array([4, 1, 2]),
        sampling(),
        generations=4,
        settings=SETTINGS,
    )


def test_answers_to_a_prompt_are_neighbours_and_end_where_they_should() -> None:
    rollouts = written(ends_often())
    assert rollouts.prompts.tolist() == [4] * 4 + [1] * 4 + [2] * 4
    prompts = make_prompts(6)
    for row, unit in enumerate(rollouts.prompts):
        answer = rollouts.answer(row)
        assert rollouts.prompt(row) == prompts.row(int(unit))[0].tolist()
        assert rollouts.finished[row] == (answer[-1] == EOS)
        assert EOS not in answer[:-1]
        assert len(answer) == ANSWER or rollouts.finished[row]
    assert 0 < rollouts.finished.mean() < 1


def test_the_same_seed_draws_the_same_answers_and_another_others() -> None:
    policy = make_policy(0)
    one, same, other = (written(policy, seed=seed) for seed in (3, 3, 4))
    assert one.split.tokens.tolist() == same.split.tokens.tolist()
    assert one.split.tokens.tolist() != other.split.tokens.tolist()


def test_a_models_own_generation_settings_change_nothing() -> None:
    plain, opinionated = make_policy(0), make_policy(0)
    config = opinionated.generation_config
    config.top_k, config.repetition_penalty, config.max_new_tokens = 1, 5.0, 2
    config.do_sample, config.min_new_tokens, config.suppress_tokens = True, 9, list(range(30, 64))
    assert written(plain).split.tokens.tolist() == written(opinionated).split.tokens.tolist()


def test_a_batch_of_prompts_gets_the_answers_that_each_gets_alone() -> None:
    policy = make_policy(1)
    prompts = [make_prompts(8).row(row)[0] for row in range(8)]

    def answers(some: list[Any]) -> list[list[int]]:
        return write_answers(
            policy,
            some,
            sampling(greedy=True),
            comm=Comm.alone(),
            precision=Precision.FP32,
            micro_batch_tokens=64,
        )

    assert len({len(prompt) for prompt in prompts}) > 1
    assert answers(prompts) == [answers([prompt])[0] for prompt in prompts]


def test_a_request_to_stop_ends_the_writing() -> None:
    stop = StopFlag()
    stop.is_set = True
    with pytest.raises(StopRequestedError):
        written(make_policy(0), comm=Comm.alone(stop))


@pytest.mark.parametrize("packing", [True, False])
def test_passes_find_what_a_plain_forward_does(packing: bool) -> None:
    policy = make_policy(2).eval()
    rollouts = written(policy)
    settings = StepSettings(0, 48, packing, 1, Precision.FP32)
    scorer = LabelScorer(policy)
    found = score_labels(
        Comm.alone(), rollouts.split, settings, lambda batch: scorer.logprobs(batch, 0.7)
    )
    sums = score_rows(Comm.alone(), rollouts.split, settings, scorer.row_logprobs)
    for row in range(len(rollouts)):
        ids = torch.tensor([rollouts.prompt(row) + rollouts.answer(row)])
        start = len(rollouts.prompt(row))
        with torch.no_grad():
            logits = policy(input_ids=ids).logits[0, start - 1 : -1]
        targets = ids[0, start:]
        warm = -functional.cross_entropy(logits / 0.7, targets, reduction="none")
        place = slice(*rollouts.split.label_offsets[row : row + 2])
        np.testing.assert_allclose(found[place], warm.numpy(), atol=1e-5)
        plain = -float(functional.cross_entropy(logits, targets, reduction="sum"))
        assert sums[row] == pytest.approx(plain, abs=1e-4)


def test_a_tail_stands_behind_finished_answers_only() -> None:
    rollouts = written(ends_often())
    rows = rollouts.with_tail([7, 8])
    for row in range(len(rollouts)):
        plain = rollouts.prompt(row) + rollouts.answer(row)
        expected = [*plain, 7, 8] if rollouts.finished[row] else plain
        assert rows.row(row)[0].tolist() == expected


def test_a_known_reward_is_what_it_says() -> None:
    assert ShareOf({5, 6}).share([5, 9, 6, 2]) == 0.5


def ends_often() -> Any:
    """A policy that ends about half of its answers before their room does."""
    policy = make_policy(0)
    policy.lm_head.bias = torch.nn.Parameter(torch.zeros(policy.config.vocab_size))
    policy.lm_head.bias.data[EOS] = 1.5
    return policy
