"""Which backend runs a job."""

import pytest
from finetune_operator.backends.choice import choose
from finetune_operator.seen import Backends, Obstacle

PYTORCHJOB, JOB = "PyTorchJob", "Job"


def chosen(setting: str, served: set[str], nodes: int, latched: str | None = None) -> str:
    """The backend's name, or why there is none."""
    found = choose(Backends(setting, frozenset(served)), latched, nodes)
    return found.message if isinstance(found, Obstacle) else found.name


@pytest.mark.parametrize(
    ("setting", "served", "nodes", "expected"),
    [
        ("Auto", {PYTORCHJOB, JOB}, 1, PYTORCHJOB),
        ("Auto", {PYTORCHJOB, JOB}, 2, PYTORCHJOB),
        ("Auto", {JOB}, 1, JOB),
        ("Auto", {JOB}, 2, "PyTorchJob is not served, and workers.nodes is 2"),
        (PYTORCHJOB, {JOB}, 1, "the chart's value backend asks for it"),
        (JOB, {PYTORCHJOB, JOB}, 1, JOB),
        (JOB, {PYTORCHJOB, JOB}, 2, "which has one pod, and workers.nodes is 2"),
    ],
)
def test_the_setting_and_what_is_served_choose(
    setting: str, served: set[str], nodes: int, expected: str
) -> None:
    assert expected in chosen(setting, served, nodes)


@pytest.mark.parametrize("setting", ["Auto", PYTORCHJOB, JOB])
def test_what_ran_the_first_attempt_runs_all_others(setting: str) -> None:
    assert chosen(setting, {PYTORCHJOB, JOB}, 1, latched=JOB) == JOB
    assert chosen(setting, {PYTORCHJOB, JOB}, 1, latched=PYTORCHJOB) == PYTORCHJOB
    assert "not served any more" in chosen(setting, {JOB}, 1, latched=PYTORCHJOB)
