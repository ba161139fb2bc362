"""Which units are held out, so that none of them stands among the training units."""

from collections.abc import Iterable
from pathlib import Path

import numpy as np
from finetune_api.spec import CheckMode, FineTuneJobSpec

from finetune_trainer.arrays import Bool, Int64
from finetune_trainer.checks.overlap import Kind, find_overlap
from finetune_trainer.checks.spool import WordSpool
from finetune_trainer.data.split import choose_held_out, held_out_target
from finetune_trainer.preparation.cross_checks import ReadUnits
from finetune_trainer.preparation.findings import Findings

LEAST_SHARE_LEFT = 0.5
"""Of the units held out at first: where fewer are unlike all training units, the rows are alike by
nature, and all stay held out."""
LARGEST_SHARE = 0.1
"""Of the units to hold out, that groups which give each other away may take together."""
ROUNDS = 6
"""Searches for units that are given away; what is still found after the last goes to training."""


def hold_out(
    read: ReadUnits,
    keep: Bool,
    sources: int,
    spec: FineTuneJobSpec,
    findings: Findings,
    folder: Path,
) -> Bool:
    """[U] True for some of the units `keep` of the first `sources` sources.

    Whole groups, chosen by their own hashes and the seed. Unless the leakage check is off, groups
    that give each other away are held out together, or go to training together. `folder` takes
    what is compared.
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
    apart = _Apart(read.marks.words, groups, keep, candidates, target, folder).settle(held_out)
    if apart.sum() >= LEAST_SHARE_LEFT * held_out.sum():
        return apart
    findings.held_out_alike = True
    return held_out


class _Apart:
    """Moves groups between the two sides until neither gives the other away."""

    def __init__(
        self,
        words: WordSpool,
        groups: Int64,
        keep: Bool,
        candidates: Bool,
        target: int,
        folder: Path,
    ) -> None:
        self._words = words
        self._groups = groups
        self._keep = keep
        self._target = target
        self._folder = folder
        names, counts = np.unique(groups[keep], return_counts=True)
        self._sizes = dict(zip(names.tolist(), counts.tolist(), strict=True))
        self._fixed = set(groups[keep & ~candidates].tolist())
        """Groups that cannot be held out."""
        self._alike = _Clusters()

    def settle(self, held_out: Bool) -> Bool:
        """[U] the held-out units that no training unit gives away."""
        held = held_out & self._keep
        for number in range(ROUNDS):
            pairs = self._pairs(held, number)
            if not pairs:
                return held
            for one, other in pairs:
                self._alike.join(one, other)
            held = self._units(self._chosen(self._groups[held]))
        given_away = [held_group for _, held_group in self._pairs(held, ROUNDS)]
        return held & ~np.isin(self._groups, given_away)

    def _pairs(self, held: Bool, number: int) -> set[tuple[int, int]]:
        """(group of a training unit, group of a held-out unit that it gives away)."""
        chosen = np.flatnonzero(held)
        with self._words.subset(chosen, self._folder / str(number)) as evaluation:
            found = find_overlap(self._words, evaluation, held | ~self._keep)
        errors = found[found["kind"] != Kind.SHARED]
        trained = self._groups[errors["train"]].tolist()
        return set(zip(trained, self._groups[chosen[errors["evaluation"]]].tolist(), strict=True))

    def _chosen(self, held: Int64) -> list[int]:
        """The groups of clusters that stay held out, the smallest first, up to the target."""
        largest = max(2.0, LARGEST_SHARE * self._target)
        clusters = [self._alike.members(group) for group in dict.fromkeys(held.tolist())]
        sizes = {
            members: sum(self._sizes[group] for group in members)
            for members in dict.fromkeys(clusters)
            if not self._fixed.intersection(members)
        }
        taken, total = list[int](), 0
        for members, size in sorted(sizes.items(), key=lambda item: item[1]):
            if size <= largest and total + size <= self._target:
                taken += members
                total += size
        return taken

    def _units(self, groups: Iterable[int]) -> Bool:
        return self._keep & np.isin(self._groups, np.fromiter(groups, np.int64))


class _Clusters:
    """Groups that belong together."""

    def __init__(self) -> None:
        self._members: dict[int, tuple[int, ...]] = {}

    def join(self, one: int, other: int) -> None:
        """Put the clusters of two groups together."""
        joined = tuple(dict.fromkeys([*self.members(one), *self.members(other)]))
        for group in joined:
            self._members[group] = joined

    def members(self, group: int) -> tuple[int, ...]:
        """The groups that belong with `group`, itself included."""
        return self._members.get(group, (group,))
