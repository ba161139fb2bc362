"""How much of each source an epoch reads: exact shares, and every unit equally often."""

from collections import Counter
from decimal import Decimal
from fractions import Fraction
from typing import Any

import numpy as np
import pytest
from finetune_api.errors import UserError
from finetune_api.reasons import Reason
from finetune_api.resolve import resolve
from finetune_api.spec import FineTuneJobSpec
from finetune_api.status import DataStatus
from finetune_api.units import Unit
from finetune_trainer.engine.mixture import mixture_of, mixture_of_sizes
from finetune_trainer.engine.plan import Mixture, Plan
from finetune_trainer.prepared import PreparedMetadata, SourceInfo
from hypothesis import given
from hypothesis import strategies as st

from tests.unit.trainer.engine_support import make_split

SIZES = st.lists(st.integers(1, 60), min_size=1, max_size=4)
WEIGHTS = st.integers(1, 9).map(str)


def spec_of(
    *weights: str | None,
    mixing: str = "Interleave",
    stop: str | None = None,
    shares: tuple[str, ...] = (),
) -> FineTuneJobSpec:
    """A resolved job over one source for each weight, and replay of `shares`."""
    train = [
        {"uri": f"s3://d/{index}"} | ({"weight": weight} if weight else {})
        for index, weight in enumerate(weights)
    ]
    data: dict[str, Any] = {"train": train, "mixing": mixing}
    data |= {"mixingStop": stop} if stop else {}
    document: dict[str, Any] = {
        "method": "CPT",
        "model": {"uri": "s3://m/m"},
        "data": data,
        "output": {"uri": "s3://o/o"},
    }
    if shares:
        document["cpt"] = {"replay": [{"uri": "s3://r/r", "share": share} for share in shares]}
    return resolve(FineTuneJobSpec.parse_wire(document))


def counts_of(mixture: Mixture) -> list[int]:
    return [part.per_epoch for part in mixture.parts]


def units_read(plan: Plan) -> list[int]:
    return [int(unit) for step in range(plan.total_steps) for unit in plan.units_of(step)]


def test_concatenated_sources_are_read_once_each() -> None:
    mixture = mixture_of_sizes(spec_of(None, None, mixing="Concat"), [5, 70])
    assert mixture == Mixture.concat(5, 70)


@pytest.mark.parametrize(
    ("weights", "stop", "counts"),
    [
        (("1", "1"), None, [10, 10]),
        (("3", "1"), None, [10, 3]),
        (("1", "3"), None, [10, 30]),
        ((None, "3"), None, [10, 30]),
        (("1", "3"), "AllExhausted", [33, 100]),
        (("3", "1"), "AllExhausted", [300, 100]),
        (("0.1", "0.9"), "FirstExhausted", [10, 90]),
    ],
)
def test_weights_are_shares_of_what_is_drawn(
    weights: tuple[str | None, ...], stop: str | None, counts: list[int]
) -> None:
    assert counts_of(mixture_of_sizes(spec_of(*weights, stop=stop), [10, 100])) == counts


@given(sizes=SIZES, data=st.data(), stop=st.sampled_from(["FirstExhausted", "AllExhausted"]))
def test_shares_are_exact_to_within_rounding_and_the_epoch_ends_where_it_should(
    sizes: list[int], data: st.DataObject, stop: str
) -> None:
    weights = [data.draw(WEIGHTS) for _ in sizes]
    counts = counts_of(mixture_of_sizes(spec_of(*weights, stop=stop), sizes))

    total = sum(int(weight) for weight in weights)
    draws = [Fraction(s * total, int(w)) for s, w in zip(sizes, weights, strict=True)]
    size = max(draws) if stop == "AllExhausted" else min(draws)
    exact = [Fraction(int(weight), total) * size for weight in weights]
    assert all(
        abs(count - wish) <= Fraction(1, 2) or count == 1
        for count, wish in zip(counts, exact, strict=True)
    )
    whole = [count >= units for count, units in zip(counts, sizes, strict=True)]
    assert all(whole) if stop == "AllExhausted" else any(whole)


@pytest.mark.parametrize(
    ("shares", "counts"), [(("0.1",), [90, 10]), (("0.25", "0.25"), [90, 45, 45])]
)
def test_replay_has_its_share_of_an_epoch_that_is_once_through_the_domain(
    shares: tuple[str, ...], counts: list[int]
) -> None:
    spec = spec_of(None, mixing="Concat", shares=shares)
    mixture = mixture_of_sizes(spec, [90, *[30] * len(shares)])
    assert counts_of(mixture) == counts
    epoch = units_read(Plan.make(mixture=mixture, batch=7, seed=1, epochs="1", max_steps=None))
    assert Counter(unit < 90 for unit in epoch) == {True: 90, False: sum(counts[1:])}
    assert sorted(unit for unit in epoch if unit < 90) == list(range(90))


@given(
    sizes=SIZES,
    data=st.data(),
    epochs=st.integers(1, 5),
    batch=st.integers(1, 20),
    seed=st.integers(0, 3),
)
def test_over_whole_epochs_the_units_of_a_source_come_equally_often(
    sizes: list[int], data: st.DataObject, epochs: int, batch: int, seed: int
) -> None:
    per_epoch = [data.draw(st.integers(1, 2 * size)) for size in sizes]
    mixture = Mixture.of(sizes, per_epoch)
    plan = Plan.make(mixture=mixture, batch=batch, seed=seed, epochs=str(epochs), max_steps=None)

    seen = Counter(units_read(plan))
    for part in mixture.parts:
        times = [seen[unit] for unit in range(part.first, part.first + part.units)]
        assert sum(times) == epochs * part.per_epoch
        assert max(times) - min(times) <= 1


def test_a_source_read_in_part_goes_on_where_it_stopped() -> None:
    mixture = Mixture.of([4, 9], [4, 3])
    plan = Plan.make(mixture=mixture, batch=7, seed=5, epochs="3", max_steps=None)
    thirds = [{unit for unit in plan.units_of(step).tolist() if unit >= 4} for step in range(3)]
    assert [len(third) for third in thirds] == [3, 3, 3]
    assert set.union(*thirds) == set(range(4, 13))


def test_every_pass_through_a_source_has_an_order_of_its_own() -> None:
    plan = Plan.make(mixture=Mixture.of([9], [3]), batch=3, seed=5, epochs="6", max_steps=None)
    thirds = [frozenset(plan.units_of(step).tolist()) for step in range(6)]
    assert set(thirds[:3]) != set(thirds[3:])


def test_the_order_does_not_depend_on_where_a_run_resumes() -> None:
    mixture = Mixture.of([4, 9, 2], [4, 3, 5])
    options = {"mixture": mixture, "batch": 5, "seed": 3, "epochs": "3", "max_steps": None}
    forwards, backwards = Plan.make(**options), Plan.make(**options)  # type: ignore[arg-type]
    steps = range(forwards.total_steps)
    one = {step: forwards.units_of(step).tolist() for step in steps}
    other = {step: backwards.units_of(step).tolist() for step in reversed(steps)}
    assert one == other


def test_the_units_of_a_source_are_those_of_its_rows_in_the_split() -> None:
    metadata = PreparedMetadata(
        unit=Unit.ROW,
        data_hash="d" * 64,
        tokenizer_digest="0" * 64,
        sequence_length=32,
        counts=DataStatus(rows=5),
        evaluation_tokens=0,
        sources=[
            SourceInfo(uri=f"s3://d/{n}", sha256="0" * 64, files=[], rows=9) for n in range(3)
        ],
        samples=[],
    )
    split = make_split([4, 4, 4, 4, 4])
    split.source_files[:] = np.array([0, 0, 0, 1, 1])
    mixture = mixture_of(spec_of("2", "1"), metadata, split)
    assert [(part.first, part.units, part.per_epoch) for part in mixture.parts] == [
        (0, 3, 3),
        (3, 2, 2),
    ]


@pytest.mark.parametrize(
    ("weights", "sizes", "reason"),
    [
        (("1", "1"), [5, 0], Reason.INVALID_DATA),
        (("1", str(Decimal("1e-6"))), [5, 5], Reason.INVALID_SPEC),
    ],
)
def test_a_share_that_no_epoch_can_have_is_refused_with_the_source(
    weights: tuple[str, ...], sizes: list[int], reason: Reason
) -> None:
    with pytest.raises(UserError) as caught:
        mixture_of_sizes(spec_of(*weights, stop="AllExhausted"), sizes)
    assert caught.value.reason is reason
    assert caught.value.where is not None
    assert caught.value.where.startswith("s3://d/")


def test_a_source_with_hardly_any_weight_is_read_all_the_same() -> None:
    assert counts_of(mixture_of_sizes(spec_of("1", "1e-9"), [5, 5])) == [5, 1]
