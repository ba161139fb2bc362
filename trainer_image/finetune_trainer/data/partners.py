"""KTO's partner rows: the prompt of each row with the completion of another.

How much likelier the policy finds completions that do not belong to their prompts than the
reference does is the point z0 that KTO measures gains and losses from (Ethayarajh et al. 2024,
2402.01306, section 4.2). Partners are fixed when the data is prepared, so that the reference reads
them once.
"""

import itertools
from collections.abc import Iterator

import numpy as np
from finetune_api.errors import UserError
from finetune_api.reasons import Reason

from finetune_trainer.data.table import TokenRow, UnitTable
from finetune_trainer.prepared import PreparedSplit

_TRIES = 64
"""Rows looked at for one whose completion fits."""


def partners_of(
    split: PreparedSplit, pool: PreparedSplit, seed: int, longest: int
) -> PreparedSplit:
    """One row for each row of `split`: its prompt, and the completion of a row of `pool` with
    another prompt; of `longest` tokens at most. Every unit of both is one row.

    Raises UserError InvalidData where `pool` has no other prompt.
    """
    order = np.random.default_rng(seed).permutation(len(pool))
    table = UnitTable()
    for row in range(len(split)):
        group = int(split.group_ids[row])
        others = (int(order[(row + step) % len(pool)]) for step in range(1, len(pool) + 1))
        candidates = (other for other in others if pool.group_ids[other] != group)
        prompt = split.row(row)[0][: _prompt(split, row)]
        partner = _partner(pool, candidates, longest - len(prompt))
        table.add(
            [_joined(prompt.tolist(), pool, partner, longest)],
            file=int(split.source_files[row]),
            row=int(split.source_rows[row]),
            group=group,
        )
    return table.to_split()


def _partner(pool: PreparedSplit, candidates: Iterator[int], room: int) -> int:
    """The first candidate whose completion has at most `room` tokens, or the first of all."""
    first = next(candidates, None)
    if first is None:
        raise UserError(
            Reason.INVALID_DATA,
            f"KTO compares completions across prompts, and all {len(pool)} training rows have the "
            "same prompt: add rows with other prompts",
            where="spec.data.train",
        )
    for other in itertools.chain([first], itertools.islice(candidates, _TRIES)):
        if int(pool.lengths[other]) - _prompt(pool, other) <= room:
            return other
    return first


def _joined(prompt: list[int], pool: PreparedSplit, partner: int, longest: int) -> TokenRow:
    """`prompt` and what follows that of `partner`, cut at `longest` tokens."""
    end = _prompt(pool, partner)
    tokens, spans = pool.row(partner)
    joined = [*prompt, *tokens[end:].tolist()][:longest]
    shift = len(prompt) - end
    moved = ((int(start) + shift, int(stop) + shift) for start, stop in spans)
    return joined, [(start, min(stop, longest)) for start, stop in moved if start < longest]


def _prompt(split: PreparedSplit, row: int) -> int:
    """Tokens before the first label."""
    return int(split.span_starts[split.span_offsets[row]])
