"""Which rows are held out: a pure function of the rows' prompts and the seed."""

from decimal import Decimal

import numpy as np
import numpy.typing as npt

from finetune_trainer.arrays import Bool, Int64

DEFAULT_SHARE = Decimal("0.05")
DEFAULT_LEAST = 100
DEFAULT_MOST = 500
LARGEST_SHARE = Decimal("0.2")


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
    groups, index, sizes = np.unique(group_ids, return_inverse=True, return_counts=True)
    chosen = np.zeros(len(groups), dtype=np.bool_)
    left = target
    for group in np.argsort(_mixed(groups, seed), kind="stable"):
        if left == 0:
            break
        if sizes[group] <= left:
            chosen[group] = True
            left -= int(sizes[group])
    held_out: Bool = chosen[index]
    return held_out


def _mixed(groups: Int64, seed: int) -> npt.NDArray[np.uint64]:
    """splitmix64 of each group, which is a hash already, under `seed`."""
    state = groups.astype(np.uint64) ^ np.uint64((seed * 0x9E3779B97F4A7C15) % 2**64)
    state = (state ^ (state >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    state = (state ^ (state >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return state ^ (state >> np.uint64(31))
