"""Which rows are held out: a pure function of the rows' prompts and the seed."""

from decimal import Decimal

import numpy as np
import numpy.typing as npt

from finetune_trainer.arrays import Bool, Int64, among

DEFAULT_SHARE = Decimal("0.05")
DEFAULT_LEAST = 100
DEFAULT_MOST = 500
LARGEST_SHARE = Decimal("0.2")

_Hashes = npt.NDArray[np.uint64]


def held_out_target(rows: int, fraction: str | None) -> int:
    """Rows to hold out of `rows`: max(100, min(500, 5%)) and at most 20%, or `fraction`."""
    if fraction is not None:
        return int(Decimal(fraction) * rows)
    wanted = max(DEFAULT_LEAST, min(DEFAULT_MOST, int(DEFAULT_SHARE * rows)))
    return min(wanted, int(LARGEST_SHARE * rows))


def choose_held_out(group_ids: Int64, target: int, seed: int) -> Bool:
    """[R] True for held-out rows: whole groups in pseudo-random order, at most `target` rows.

    The order depends on the seed and the groups alone, not on the order of rows. A group that
    would lead above the target is passed over.
    """
    mixed = _mixed(group_ids, seed)
    return among(mixed, _first_groups(np.sort(mixed), target))


def _first_groups(ordered: _Hashes, target: int) -> _Hashes:
    """The first groups of rows in their order that hold at most `target` rows together."""
    chosen, begin, left = [], 0, target
    while left and begin < len(ordered):
        group = ordered[begin]
        end = int(np.searchsorted(ordered, group, side="right"))
        if end - begin <= left:
            chosen.append(group)
            left -= end - begin
        begin = end
    return np.array(chosen, np.uint64)


def _mixed(groups: Int64, seed: int) -> _Hashes:
    """splitmix64 of each group, which is a hash already, under `seed`: one to one."""
    state = groups.view(np.uint64) ^ np.uint64((seed * 0x9E3779B97F4A7C15) % 2**64)
    for shift, factor in ((30, 0xBF58476D1CE4E5B9), (27, 0x94D049BB133111EB)):
        state ^= state >> np.uint64(shift)
        state *= np.uint64(factor)
    state ^= state >> np.uint64(31)
    return state
