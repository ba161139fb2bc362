"""Which units a step reads, how they are laid out, and at which learning rate."""

import numpy as np
import pytest
from finetune_api.spec import Scheduler, Training
from finetune_trainer.engine.packing import group, pack
from finetune_trainer.engine.plan import Mixture, Plan
from finetune_trainer.engine.schedule import Schedule
from hypothesis import given
from hypothesis import strategies as st

LENGTHS = st.lists(st.integers(2, 90), min_size=1, max_size=40)


def units_read(plan: Plan) -> list[int]:
    return [int(unit) for step in range(plan.total_steps) for unit in plan.units_of(step)]


def test_an_epoch_reads_every_unit_once_with_a_smaller_last_batch() -> None:
    plan = Plan.make(mixture=Mixture.concat(10), batch=4, seed=7, epochs="1", max_steps=None)
    assert [len(plan.units_of(step)) for step in range(plan.total_steps)] == [4, 4, 2]
    assert sorted(units_read(plan)) == list(range(10))


def test_epochs_differ_in_order_and_seeds_repeat_it() -> None:
    plan = Plan.make(mixture=Mixture.concat(10), batch=5, seed=7, epochs="2", max_steps=None)
    again = Plan.make(mixture=Mixture.concat(10), batch=5, seed=7, epochs="2", max_steps=None)
    order = units_read(plan)
    assert order == units_read(again)
    assert order[:10] != order[10:]
    assert order != units_read(
        Plan.make(mixture=Mixture.concat(10), batch=5, seed=8, epochs="2", max_steps=None)
    )


def test_sources_that_are_read_once_come_in_the_order_of_one_source() -> None:
    one, several = (
        units_read(Plan.make(mixture=mixture, batch=4, seed=7, epochs="2", max_steps=None))
        for mixture in (Mixture.concat(10), Mixture.concat(3, 0, 7))
    )
    assert one == several
    order = np.random.Generator(np.random.PCG64([7, 1])).permutation(10)
    assert one[10:] == order.tolist()


def test_half_an_epoch_reads_the_first_half_of_its_permutation() -> None:
    whole = Plan.make(mixture=Mixture.concat(10), batch=4, seed=7, epochs="2", max_steps=None)
    part = Plan.make(mixture=Mixture.concat(10), batch=4, seed=7, epochs="1.5", max_steps=None)
    assert units_read(part) == units_read(whole)[:15]
    assert [len(part.units_of(step)) for step in range(part.total_steps)] == [4, 4, 2, 4, 1]


def test_max_steps_goes_on_into_further_epochs() -> None:
    plan = Plan.make(mixture=Mixture.concat(3), batch=2, seed=7, epochs=None, max_steps=5)
    assert [len(plan.units_of(step)) for step in range(5)] == [2, 1, 2, 1, 2]
    assert plan.epoch_after(2) == 1.0


@given(lengths=LENGTHS, world_size=st.integers(1, 5), capacity=st.integers(16, 200))
def test_layouts_hold_every_row_once_within_capacity_and_equal_forwards(
    lengths: list[int], world_size: int, capacity: int
) -> None:
    for layout, size_of in (
        (pack(lengths, world_size, capacity), sum),
        (
            group(lengths, [1] * len(lengths), world_size, capacity),
            lambda sizes: max(sizes) * len(sizes),
        ),
    ):
        assert len(layout) == world_size
        assert len({len(bins) for bins in layout}) == 1
        bins = [chosen for rank in layout for chosen in rank if chosen]
        assert sorted(row for chosen in bins for row in chosen) == list(range(len(lengths)))
        limit = max(capacity, max(lengths))
        assert all(size_of([lengths[row] for row in chosen]) <= limit for chosen in bins)


def test_packing_shares_tokens_evenly_among_ranks() -> None:
    lengths = [int(n) for n in np.random.default_rng(0).integers(5, 60, 64)]
    loads = [sum(lengths[r] for b in bins for r in b) for bins in pack(lengths, 4, 512)]
    assert max(loads) - min(loads) <= 16


@pytest.mark.parametrize(
    ("kind", "floor", "middle", "last"),
    [
        (Scheduler.COSINE, "0.1", 0.55, 0.1007),
        (Scheduler.LINEAR, "0.1", 0.55, 0.109),
        (Scheduler.CONSTANT, "0", 1.0, 1.0),
    ],
)
def test_the_rate_rises_then_follows_its_course_to_the_floor(
    kind: Scheduler, floor: str, middle: float, last: float
) -> None:
    training = Training(
        learning_rate="1", scheduler=kind, warmup_ratio="0.2", min_learning_rate_ratio=floor
    )
    schedule = Schedule.of(training, 125)
    rates = [schedule.rate(step) for step in range(125)]
    assert rates[0] == pytest.approx(1 / 26)
    assert rates[:26] == sorted(rates[:26])
    assert rates[25] == 1.0
    assert rates[75] == pytest.approx(middle)
    assert rates[124] == pytest.approx(last, abs=1e-3)
