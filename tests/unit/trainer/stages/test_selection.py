"""Which evaluated step is published, and when training ends early."""

from collections.abc import Sequence

import pytest
from finetune_api.spec import BestMetric
from finetune_trainer.checkpoint.header import Evaluated
from finetune_trainer.stages.selection import Selection

LEAST_LOSS = Selection(BestMetric.LOSS, patience=2, publishes_best=True)


def after(*values: float | None) -> Sequence[Evaluated]:
    return [Evaluated(step=10 * (n + 1), value=value) for n, value in enumerate(values)]


@pytest.mark.parametrize(
    ("values", "best"),
    [((3.0, 2.0, 2.5), 20), ((2.0, 2.0), 10), ((None, 4.0, None), 20)],
    ids=["least", "earliest-of-equals", "what-is-not-finite-is-never-best"],
)
def test_the_least_loss_is_best(values: tuple[float | None, ...], best: int) -> None:
    found = LEAST_LOSS.best(after(*values))
    assert found is not None
    assert found.step == best


def test_the_largest_accuracy_is_best() -> None:
    rule = Selection(BestMetric.PREFERENCE_ACCURACY, patience=None, publishes_best=True)
    found = rule.best(after(0.5, 0.9, 0.7))
    assert found is not None
    assert found.step == 20
    assert rule.value_of({"accuracy": 0.9, "loss": 1.0}) == 0.9


@pytest.mark.parametrize(
    ("values", "over"),
    [
        ((), False),
        ((3.0, 2.0, 2.1), False),
        ((3.0, 2.0, 2.1, 2.2), True),
        ((3.0, 2.0, 2.1, 1.9), False),
        ((None, None), True),
    ],
)
def test_patience_counts_evaluations_since_the_best(
    values: tuple[float | None, ...], over: bool
) -> None:
    assert LEAST_LOSS.is_over(after(*values)) is over


def test_without_patience_no_run_ends_early() -> None:
    rule = Selection(BestMetric.LOSS, patience=None, publishes_best=False)
    assert not rule.is_over(after(1.0, 2.0, 3.0, 4.0))
