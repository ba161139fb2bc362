"""Which units are held out, so that none of them stands among the training units."""

from pathlib import Path

import numpy as np
from finetune_api.spec import CheckMode, FineTuneJobSpec

from finetune_trainer.arrays import Bool, Int64
from finetune_trainer.checks.overlap import Kind, find_overlap
from finetune_trainer.checks.spool import WordSpool
from finetune_trainer.data.split import choose_held_out, held_out_target
from finetune_trainer.preparation.cross_checks import ReadUnits

LEAST_SHARE_LEFT = 0.5
"""Of the units held out at first: where fewer are unlike all training units, the rows are alike by
nature, and all stay held out."""


def hold_out(
    read: ReadUnits, keep: Bool, sources: int, spec: FineTuneJobSpec, folder: Path
) -> Bool:
    """[U] True for some of the units `keep` of the first `sources` sources.

    Whole groups, chosen by their own hashes and the seed. Unless the leakage check is off, groups
    that training units give away go back to training. `folder` takes what is compared.
    """
    split = read.units.mapped()
    firsts = split.unit_offsets[:-1]
    groups = split.group_ids[firsts]
    candidates = keep & (split.source_files[firsts] < sources)
    target = held_out_target(int(candidates.sum()), spec.data.evaluation_fraction)
    held_out = np.zeros(split.units, np.bool_)
    held_out[candidates] = choose_held_out(groups[candidates], target, spec.training.seed)
    if spec.data.checks.leakage is CheckMode.OFF or not held_out.any():
        return held_out
    assert read.marks.words is not None
    alone = _given_away(read.marks.words, held_out, groups, keep, folder)
    return alone if alone.sum() >= LEAST_SHARE_LEFT * held_out.sum() else held_out


def _given_away(words: WordSpool, held_out: Bool, groups: Int64, keep: Bool, folder: Path) -> Bool:
    """`held_out` without the groups of which a unit stands in what is not held out."""
    chosen = np.flatnonzero(held_out)
    left, skip = held_out.copy(), held_out | ~keep
    with words.subset(chosen, folder) as evaluation:
        while True:
            found = find_overlap(words, evaluation, skip)
            given_away = chosen[found["evaluation"][found["kind"] != Kind.SHARED]]
            back = left & np.isin(groups, groups[given_away[left[given_away]]])
            if not back.any():
                return left
            left &= ~back
            skip = ~back  # those that went back may give others away
