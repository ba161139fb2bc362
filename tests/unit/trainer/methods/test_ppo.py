"""PPO against the formulas of its papers, written out token by token."""

import math
from itertools import pairwise
from typing import Any

import numpy as np
import pytest
import torch
from finetune_api.spec import Ppo
from finetune_trainer.arrays import Float32
from finetune_trainer.engine.batches import make_batch
from finetune_trainer.methods import ppo
from finetune_trainer.methods.actor_critic import ActorCritic
from finetune_trainer.prepared import PreparedSplit
from transformers import LlamaForSequenceClassification

from tests.unit.trainer.methods.support import Models, gradient_of, loss_of, split_of

SETTINGS = Ppo(
    max_new_tokens=8,
    clip_range="0.05",
    value_clip_range="0.1",
    value_coefficient="0.4",
    gamma="0.9",
    lambda_="0.8",
    temperature="0.7",
)
MEAN, DEVIATION = 0.3, 1.7
"""Of the reward model that the critic starts from."""


def answers() -> PreparedSplit:
    rng = np.random.default_rng(2)
    rows = []
    for size in (4, 1, 7):
        prompt = rng.integers(4, 128, int(rng.integers(3, 6))).tolist()
        rows.append(([*prompt, *rng.integers(4, 128, size).tolist()], len(prompt)))
    return split_of(rows)


@pytest.fixture(scope="module")
def model(models: Models) -> ActorCritic:
    torch.manual_seed(3)
    settings = {**models.policy.config.to_dict(), "id2label": {0: "score"}}
    critic = LlamaForSequenceClassification(type(models.policy.config)(**settings))
    return ActorCritic(models.policy, critic, MEAN, DEVIATION).eval()


def recorded(split: PreparedSplit) -> dict[str, Float32]:
    """Rollouts as they may have been: of each token, in the order of the rows."""
    rng = np.random.default_rng(5)
    labels = int(split.label_offsets[-1])

    def numbers(scale: float, mean: float = 0.0) -> Float32:
        return (mean + scale * rng.normal(size=labels)).astype(np.float32)

    return {"old": numbers(0.3, -4.8), "reference": numbers(0.3, -4.8), "values": numbers(0.5)}


SCORES: Float32 = np.array([0.5, -1.5, 2.0], np.float32)


def rewards_by_hand(split: PreparedSplit, rollouts: dict[str, Float32]) -> list[list[float]]:
    """r_t = -beta (log pi - log q) + [last] score, answer by answer."""
    found = []
    place = 0
    for row, size in enumerate(split.label_counts.tolist()):
        line = []
        for token in range(size):
            gap = float(rollouts["old"][place]) - float(rollouts["reference"][place])
            line.append(-0.05 * gap + (float(SCORES[row]) if token == size - 1 else 0.0))
            place += 1
        found.append(line)
    return found


def advantages_by_hand(rewards: list[list[float]], values: list[list[float]]) -> list[float]:
    """A_t = sum over l of (gamma lambda)^l delta_(t+l), as the sum it is defined by."""
    gamma, decay = 0.9, 0.8
    found = []
    for line, known in zip(rewards, values, strict=True):
        following = [*known[1:], 0.0]
        deltas = [r + gamma * n - v for r, n, v in zip(line, following, known, strict=True)]
        found += [
            sum((gamma * decay) ** (later - t) * deltas[later] for later in range(t, len(line)))
            for t in range(len(line))
        ]
    return found


def per_answer(split: PreparedSplit, values: Float32) -> list[list[float]]:
    bounds = split.label_offsets
    return [[float(v) for v in values[begin:end]] for begin, end in pairwise(bounds.tolist())]


def test_rewards_advantages_and_whitening_are_those_of_the_formulas() -> None:
    split = answers()
    rollouts = recorded(split)
    by_hand = rewards_by_hand(split, rollouts)

    rewards = ppo.token_rewards(
        SCORES, rollouts["old"], rollouts["reference"], split.label_offsets[1:], 0.05
    )
    found = ppo.advantages(rewards, rollouts["values"], split.label_offsets, gamma=0.9, decay=0.8)

    np.testing.assert_allclose(rewards, [r for line in by_hand for r in line], atol=1e-6)
    expected = advantages_by_hand(by_hand, per_answer(split, rollouts["values"]))
    np.testing.assert_allclose(found, expected, atol=1e-5)
    middle = sum(expected) / len(expected)
    spread = math.sqrt(sum((a - middle) ** 2 for a in expected) / len(expected))
    np.testing.assert_allclose(
        ppo.whiten(found), [(a - middle) / spread for a in expected], atol=1e-4
    )
    np.testing.assert_allclose(ppo.whiten(found, center=False).mean(), middle, atol=1e-4)


def loss_by_hand(
    model: ActorCritic, split: PreparedSplit, facts: dict[str, Float32]
) -> tuple[torch.Tensor, dict[str, float]]:
    """(loss, shares of clipped tokens), one row and one token after the other."""
    policy_loss, value_loss = torch.zeros(()), torch.zeros(())
    clipped, value_clipped, place = 0, 0, 0
    for row in range(len(split)):
        tokens, spans = split.row(row)
        start, end = spans[0].tolist()
        ids = torch.from_numpy(tokens.astype(np.int64))[None]
        logits: Any = model.policy(input_ids=ids).logits[0] / 0.7
        hidden = model.critic.model(input_ids=ids).last_hidden_state[0]  # type: ignore[operator]
        for token in range(start, end):
            logprob = torch.log_softmax(logits[token - 1], -1)[ids[0, token]]
            value = (model.critic.score(hidden[token - 1])[0] - MEAN) / DEVIATION  # type: ignore[operator]
            advantage = float(facts[ppo.ADVANTAGE][place])
            goal, before = float(facts[ppo.RETURN][place]), float(facts[ppo.VALUE][place])
            ratio = torch.exp(logprob - float(facts[ppo.OLD][place]))
            held = torch.clamp(ratio, 0.95, 1.05)
            policy_loss = policy_loss + torch.max(-advantage * ratio, -advantage * held)
            near = torch.clamp(value, before - 0.1, before + 0.1)
            misses = ((value - goal) ** 2, (near - goal) ** 2)
            value_loss = value_loss + 0.5 * torch.max(*misses)
            clipped += bool(-advantage * held > -advantage * ratio)
            value_clipped += bool(misses[1] > misses[0])
            place += 1
    shares = {ppo.CLIPPED: clipped / place, ppo.VALUE_CLIPPED: value_clipped / place}
    return policy_loss / place + 0.4 * value_loss / place, shares


def test_losses_and_gradients_are_those_of_the_formulas(model: ActorCritic) -> None:
    split = answers()
    rollouts = recorded(split)
    rng = np.random.default_rng(7)
    labels = len(rollouts["old"])
    facts = {
        ppo.ADVANTAGE: rng.normal(size=labels).astype(np.float32),
        ppo.RETURN: rng.normal(size=labels).astype(np.float32),
        ppo.OLD: rollouts["old"],
        ppo.VALUE: (0.1 * rollouts["values"]).astype(np.float32),
    }
    units = np.arange(split.units)
    batch = make_batch(split, units, units.tolist(), packing=True, facts=facts)

    found, means = loss_of(model, batch, ppo.objective(SETTINGS))
    expected, shares = loss_by_hand(model, split, facts)

    torch.testing.assert_close(found, expected, atol=1e-5, rtol=1e-5)
    for name, share in shares.items():
        assert 0 < share < 1
        assert float(means[name]) == pytest.approx(share, abs=1e-6)
    torch.testing.assert_close(
        gradient_of(model, found), gradient_of(model, expected), atol=1e-5, rtol=1e-4
    )


@pytest.mark.parametrize(
    ("divergence", "factor"), [(6.0, 1.0), (6.6, 1.01), (60.0, 1.02), (0.0, 0.98)]
)
def test_the_controller_follows_the_divergence_in_small_steps(
    divergence: float, factor: float
) -> None:
    assert ppo.next_coefficient(0.05, divergence, 6.0) == pytest.approx(0.05 * factor)


def test_explained_variance_is_1_for_a_critic_that_knows_and_0_for_one_number() -> None:
    returns = np.array([1, 2, 4], np.float32)
    assert ppo.explained_variance(returns, returns) == pytest.approx(1)
    assert ppo.explained_variance(np.full(3, 7, np.float32), returns) == pytest.approx(0)
