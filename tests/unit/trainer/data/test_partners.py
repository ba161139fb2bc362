"""KTO's partner rows: prompts with completions that do not belong to them."""

import numpy as np
import pytest
from finetune_api.errors import UserError
from finetune_trainer.data.partners import partners_of
from finetune_trainer.data.table import UnitTable
from finetune_trainer.prepared import PreparedSplit


def split_of(*rows: tuple[int, int, int]) -> PreparedSplit:
    """Rows of (group, prompt tokens, completion tokens); all tokens of row i are 100 i + ..."""
    table = UnitTable()
    for number, (group, prompt, completion) in enumerate(rows, start=1):
        tokens = [100 * number + place for place in range(prompt + completion)]
        table.add([(tokens, [(prompt, prompt + completion)])], file=0, row=number, group=group)
    return table.to_split()


def test_each_row_keeps_its_prompt_and_gets_a_completion_of_another_prompt() -> None:
    split = split_of((1, 2, 3), (1, 2, 2), (2, 4, 1), (3, 1, 5))

    partners = partners_of(split, split, seed=3, longest=64)

    assert partners.group_ids.tolist() == split.group_ids.tolist()
    for row in range(len(split)):
        tokens, spans = partners.row(row)
        (begin, end), *rest = spans.tolist()
        owner = int(tokens[begin]) // 100 - 1
        assert not rest
        assert split.group_ids[owner] != split.group_ids[row]
        assert tokens[:begin].tolist() == split.row(row)[0][:begin].tolist()
        whole, owned = split.row(owner)
        assert tokens[begin:end].tolist() == whole[owned[0, 0] :].tolist()
        assert end == len(tokens)


def test_the_seed_decides_who_is_whose_partner() -> None:
    split = split_of(*((group, 2, 2) for group in range(20)))

    first, again, other = (partners_of(split, split, seed, 64).tokens for seed in (1, 1, 2))

    assert np.array_equal(first, again)
    assert not np.array_equal(first, other)


def test_a_completion_that_fits_is_preferred_and_else_it_is_cut() -> None:
    long, short = (2, 1, 30), (3, 1, 2)
    split = split_of((1, 10, 2), long, short)

    assert partners_of(split, split, seed=0, longest=32).lengths[0] == 12
    without = split_of((1, 10, 2), long)
    cut = partners_of(without, without, seed=0, longest=16)
    assert cut.lengths[0] == 16
    assert cut.row(0)[1].tolist() == [[10, 16]]


def test_held_out_rows_take_completions_from_training_rows() -> None:
    train, held_out = split_of((1, 2, 3), (2, 2, 3)), split_of((7, 3, 1))

    partners = partners_of(held_out, train, seed=0, longest=64)

    assert partners.lengths.tolist() == [6]


def test_one_prompt_for_all_rows_is_refused() -> None:
    split = split_of((1, 2, 3), (1, 2, 2))
    with pytest.raises(UserError, match="all 2 training rows have the same prompt"):
        partners_of(split, split, seed=0, longest=64)
