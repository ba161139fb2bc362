"""Held-out rows depend on prompts and seed alone."""

import numpy as np
import pytest
from finetune_trainer.data.conversation import Conversation
from finetune_trainer.data.grouping import prompt_id
from finetune_trainer.data.split import choose_held_out, held_out_target

GROUPS = np.random.default_rng(0).integers(-(2**63), 2**63 - 1, 1000)


@pytest.mark.parametrize(
    ("rows", "fraction", "expected"),
    [
        (4, None, 0),
        (100, None, 20),
        (500, None, 100),
        (2_000, None, 100),
        (5_000, None, 250),
        (1_000_000, None, 500),
        (1_000, "0.3", 300),
        (3, "0.1", 0),
    ],
)
def test_default_is_five_percent_within_bounds(
    rows: int, fraction: str | None, expected: int
) -> None:
    assert held_out_target(rows, fraction) == expected


def test_the_same_seed_gives_the_same_rows_in_any_order() -> None:
    order = np.random.default_rng(1).permutation(len(GROUPS))

    held_out = choose_held_out(GROUPS, 100, seed=7)

    assert held_out.sum() == 100
    assert np.array_equal(choose_held_out(GROUPS[order], 100, seed=7), held_out[order])
    assert not np.array_equal(choose_held_out(GROUPS, 100, seed=8), held_out)


def test_rows_with_an_equal_prompt_stay_together() -> None:
    groups = np.repeat(GROUPS[:100], 3)

    held_out = choose_held_out(groups, 31, seed=1).reshape(100, 3)

    assert held_out.sum() == 30
    assert np.array_equal(held_out.any(axis=1), held_out.all(axis=1))


def test_a_group_of_almost_all_rows_is_never_held_out() -> None:
    groups = np.concatenate([np.zeros(900, np.int64), GROUPS[:100]])

    assert not choose_held_out(groups, 50, seed=0)[:900].any()


def test_rows_are_grouped_by_what_stands_before_the_first_answer() -> None:
    ask, other = ({"role": "user", "content": text} for text in ("a", "b"))
    one, two = ({"role": "assistant", "content": text} for text in ("x", "y"))

    assert prompt_id(Conversation([ask, one]).opening()) == prompt_id(
        Conversation([ask, two, other, one]).opening()
    )
    assert prompt_id(Conversation([ask, one]).opening()) != prompt_id(
        Conversation([other, one]).opening()
    )
    assert prompt_id(Conversation([one, ask, one]).opening()) != prompt_id(
        Conversation([one, other, one]).opening()
    )
