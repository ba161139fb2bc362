import numpy as np
from finetune_trainer.checks.contradictions import find_contradictions


def test_units_of_a_subject_with_two_verdicts_contradict() -> None:
    subject = np.array([7, 3, 7, 5, 3, 3, 9])
    verdict = np.array([1, 1, 0, 1, 1, 1, 0])
    assert find_contradictions(subject, verdict).tolist() == [
        True, False, True, False, False, False, False,
    ]  # fmt: skip


def test_no_units_contradict_nothing() -> None:
    empty = np.empty(0, np.int64)
    assert find_contradictions(empty, empty).tolist() == []
