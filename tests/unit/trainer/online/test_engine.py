"""A step of several updates: whole or not at all, and every answer read once a pass."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from finetune_trainer.checkpoint.state import capture, restore
from finetune_trainer.engine.settings import StopRequestedError
from finetune_trainer.online.engine import OnlineEngine

from tests.unit.trainer.online.online_support import grpo_engine, make_policy, ppo_engine

MAKERS: dict[str, Callable[[], OnlineEngine]] = {
    "grpo": lambda: grpo_engine(make_policy(0), steps=4, generations=3, iterations=3),
    "ppo": lambda: ppo_engine(make_policy(0), steps=4, batch=8, minibatches=2),
}


def assert_same(one: dict[str, torch.Tensor], other: dict[str, torch.Tensor]) -> None:
    assert one.keys() == other.keys()
    for name, tensor in one.items():
        torch.testing.assert_close(other[name], tensor, atol=0, rtol=0, msg=name)


@pytest.mark.parametrize("name", MAKERS)
def test_a_stop_between_the_updates_of_a_step_leaves_no_trace(name: str) -> None:
    undisturbed, stopped = MAKERS[name](), MAKERS[name]()
    for engine in (undisturbed, stopped):
        engine.run_step()
    before, applied = capture(stopped), stopped.applied
    update, calls = stopped.update, 0

    def stop_at_the_second(*arguments: Any, **rest: Any) -> Any:
        nonlocal calls
        calls += 1
        if calls == 2:
            raise StopRequestedError
        return update(*arguments, **rest)

    stopped.update = stop_at_the_second  # type: ignore[method-assign]
    with pytest.raises(StopRequestedError):
        stopped.run_step()
    assert (stopped.step, stopped.applied) == (1, applied)
    assert_same(before, capture(stopped))

    stopped.update = update  # type: ignore[method-assign]
    assert stopped.run_step() == undisturbed.run_step()
    assert_same(capture(undisturbed), capture(stopped))


def test_the_state_before_the_first_update_has_no_moments() -> None:
    engine = MAKERS["grpo"]()
    start = capture(engine)
    engine.run_step()
    assert engine.optimizer.state
    restore(engine, start, applied=0)
    assert not engine.optimizer.state
    assert_same(start, capture(engine))


@pytest.mark.parametrize("name", MAKERS)
def test_an_engine_goes_on_bit_equal_from_what_was_kept(name: str) -> None:
    first, resumed = MAKERS[name](), MAKERS[name]()
    first.run_step()
    resumed.step = first.step
    resumed.set_state(first.state())
    restore(resumed, capture(first), applied=first.applied)
    assert resumed.run_step() == first.run_step()
    assert_same(capture(first), capture(resumed))


def test_the_controllers_weight_outlives_the_process() -> None:
    def made() -> OnlineEngine:
        wish: dict[str, Any] = {
            "kl_controller": "Adaptive",
            "kl_target": "0.001",
            "kl_coefficient": "0.5",
        }
        return ppo_engine(make_policy(0), steps=4, batch=8, **wish)

    first, resumed = made(), made()
    told = [first.run_step().means["klCoefficient"] for _ in range(3)]
    assert told[0] == 0.5
    assert told[1] == pytest.approx(0.5 * 0.98), "the first answers are those of the reference"
    known = first.state()["klCoefficient"]
    assert known not in told
    resumed.set_state(first.state())
    assert resumed.run_step().means["klCoefficient"] == known


def test_every_answer_is_read_once_a_pass() -> None:
    engine = ppo_engine(make_policy(0), steps=2, batch=10, minibatches=3, epochs_per_batch=2)
    read: list[list[int]] = []
    update = engine.update

    def note(rows: Any, units: Any, *rest: Any) -> Any:
        read.append(units.tolist())
        return update(rows, units, *rest)

    engine.update = note  # type: ignore[method-assign,assignment]
    result = engine.run_step()
    assert [len(units) for units in read] == [4, 3, 3, 4, 3, 3]
    for part in (read[:3], read[3:]):
        assert sorted(np.concatenate(part)) == list(range(10))
    assert read[:3] != read[3:]
    assert result.labels == 2 * int(engine.last.rollouts.lengths.sum())  # type: ignore[union-attr]


def test_groups_that_teach_nothing_are_counted() -> None:
    engine = grpo_engine(make_policy(0), steps=1, generations=2)
    means = engine.run_step().means
    rewards = engine.last.rewards.reshape(-1, 2)  # type: ignore[union-attr]
    assert means["flatGroups"] == (rewards[:, 0] == rewards[:, 1]).sum()
