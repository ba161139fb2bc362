"""Both methods learn a reward that is known: the share of an answer's tokens in a set."""

import pytest

from tests.unit.trainer.online.online_support import grpo_engine, make_policy, ppo_engine

GAIN = 0.3
UPDATES = 60
SEEDS = [0, *(pytest.param(seed, marks=pytest.mark.long) for seed in (1, 2))]


@pytest.mark.parametrize("seed", SEEDS)
def test_grpo_gains_within_sixty_updates(seed: int) -> None:
    engine = grpo_engine(make_policy(seed), steps=UPDATES, seed=seed)
    rewards = [engine.run_step().means["reward"] for _ in range(UPDATES)]
    assert engine.applied == UPDATES
    assert rewards[-1] >= rewards[0] + GAIN


@pytest.mark.parametrize("seed", SEEDS)
def test_ppo_gains_within_sixty_updates_and_a_high_penalty_holds_it(seed: int) -> None:
    free, held = (
        ppo_engine(make_policy(seed), steps=UPDATES // 4, seed=seed, kl_coefficient=coefficient)
        for coefficient in ("0.01", "1")
    )
    steps = [free.run_step().means for _ in range(UPDATES // 4)]
    last_held = [held.run_step().means for _ in range(UPDATES // 4)][-1]
    assert free.applied == UPDATES
    assert steps[-1]["reward"] >= steps[0]["reward"] + GAIN
    assert last_held["kl"] < steps[-1]["kl"] / 2


def test_a_critic_learns_to_foretell_the_reward() -> None:
    engine = ppo_engine(make_policy(0), steps=15, rate="1e-3")
    means = [engine.run_step().means for _ in range(15)]
    assert means[-1]["valueLoss"] < means[0]["valueLoss"] / 4
    assert means[-1]["value"] == pytest.approx(means[-1]["reward"], abs=0.15)
