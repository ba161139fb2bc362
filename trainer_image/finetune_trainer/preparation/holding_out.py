"""Which units are held out, so that none of them stands among the training units."""

from pathlib import Path

import numpy as np
from finetune_api.spec import CheckMode, FineTuneJobSpec

from finetune_trainer.arrays import Bool, Int64, among
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
        self._candidates = candidates
        self._alike = _Clusters(groups)

    def settle(self, held_out: Bool) -> Bool:
        """[U] the held-out units that no training unit gives away."""
        held = held_out & self._keep
        for number in range(ROUNDS):
            trained, given_away = self._pairs(held, number)
            if not len(given_away):
                return held
            self._alike.join(trained, given_away)
            held = self._apart(held)
        _, given_away = self._pairs(held, ROUNDS)
        return held & ~among(self._groups, given_away)

    def _pairs(self, held: Bool, number: int) -> tuple[Int64, Int64]:
        """([P] groups of training units, [P] of held-out units that they give away)."""
        chosen = np.flatnonzero(held)
        with self._words.subset(chosen, self._folder / str(number)) as evaluation:
            found = find_overlap(self._words, evaluation, held | ~self._keep)
        errors = found[found["kind"] != Kind.SHARED]
        return self._groups[errors["train"]], self._groups[chosen[errors["evaluation"]]]

    def _apart(self, held: Bool) -> Bool:
        """[U] the units of clusters that stay held out, the smallest first, up to the target."""
        clusters = self._alike.of(self._groups)
        sizes = np.bincount(clusters[self._keep], minlength=int(clusters.max()) + 1)
        fixed = clusters[self._keep & ~self._candidates]
        held_clusters = np.setdiff1d(clusters[held], fixed)
        smallest = held_clusters[np.argsort(sizes[held_clusters], kind="stable")]
        largest = max(2.0, LARGEST_SHARE * self._target)
        fits = (sizes[smallest] <= largest) & (np.cumsum(sizes[smallest]) <= self._target)
        return self._keep & among(clusters, smallest[fits])


class _Clusters:
    """Groups that belong together: connected components, each known by its lowest member."""

    def __init__(self, groups: Int64) -> None:
        self._names = np.unique(groups)
        self._lowest = np.arange(len(self._names))

    def join(self, some: Int64, others: Int64) -> None:
        """Put the clusters of the groups `some` [P] and `others` [P] together, pair by pair."""
        ends = [np.searchsorted(self._names, groups) for groups in (some, others)]
        lowest = self._lowest
        while True:
            one, other = (lowest[end] for end in ends)
            if np.array_equal(one, other):
                break
            least = np.minimum(one, other)
            np.minimum.at(lowest, one, least)
            np.minimum.at(lowest, other, least)
            while not np.array_equal(lowest, lowest[lowest]):
                lowest = lowest[lowest]
        self._lowest = lowest

    def of(self, groups: Int64) -> Int64:
        """[N] the cluster of each of `groups`."""
        return self._lowest[np.searchsorted(self._names, groups)]
