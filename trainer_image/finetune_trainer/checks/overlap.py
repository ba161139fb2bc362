"""Units of an evaluation that the training data gives away."""

from dataclasses import dataclass
from enum import IntEnum

import numpy as np
import numpy.typing as npt

from finetune_trainer.checks.grams import GramIndex
from finetune_trainer.checks.shingles import SHORT, jaccard
from finetune_trainer.checks.spool import Block, Int64, WordSpool, cached_shingles

SIMILAR = 0.8
COVERED = 0.5
"""Share of the words of a part inside 8-grams that one training unit shares."""
GRAM = 8
"""Words. With a share of .5, 8-grams find more of edited questions than 12- and 13-grams."""
WARNING_GRAM = 13
"""Words in a row that are worth a look (Brown et al. 2020, appendix C)."""
SHORT_GRAM = 4
"""Words: a question of 8 to 19 words with one word changed always keeps 4 in a row."""
SHORT_COVERED = 0.4
LEAST_PROMPT = 8
LEAST_ANSWER = 20


class Kind(IntEnum):
    """How an evaluation unit is given away; all but Shared are errors."""

    EXACT = 1
    """Both parts are equal once normalised."""
    NEAR = 2
    """Jaccard >= .8 of both parts, or of the prompts if they have 8 words or more."""
    COVERED = 3
    """Half of its prompt's words, or of its answer's, stands in one training unit."""
    SHARED = 4
    """13 words in a row: a warning."""


FINDING = np.dtype(
    [("train", np.int64), ("evaluation", np.int64), ("kind", np.int8), ("coverage", np.float32)]
)
"""coverage: of the part that is covered most; 1 for EXACT."""
Findings = npt.NDArray[np.void]


def find_overlap(
    train: WordSpool, evaluation: WordSpool, skip: npt.NDArray[np.bool_] | None = None
) -> Findings:
    """[N] FINDING: pairs of units, by training unit, then evaluation unit, each pair once.

    skip: [U] training units that are not looked at, those that are left out already. Each
    training unit has one SHARED finding at most (the longest run), but all of its errors.
    Training units are read once in order; memory holds the 8-grams of the evaluation.
    Parts under 8 words, and answers under 20, are only compared as wholes. 8-grams of over
    10 % of the evaluation's units (10 at least) are a template: they neither cover words nor
    count as words to be covered.
    """
    if not len(evaluation):
        return np.empty(0, FINDING)
    search = _Search(train, evaluation)
    found = [np.empty(0, FINDING)]
    for block in train.blocks():
        here = search.block(block)
        found.append(here if skip is None else here[~skip[here["train"]]])
    return np.concatenate(found)


@dataclass(frozen=True)
class _Matches:
    """Pairs of a training unit and a part of the evaluation."""

    train: Int64
    part: Int64
    coverage: npt.NDArray[np.float64]
    longest: Int64
    """Words in a row."""


class _Search:
    """An evaluation, indexed."""

    def __init__(self, train: WordSpool, evaluation: WordSpool) -> None:
        parts = [part for unit in range(len(evaluation)) for part in evaluation.read(unit)]
        lengths = np.array([len(part) for part in parts])
        is_prompt = np.arange(len(parts)) % 2 == 0
        self._wanted = lengths >= np.where(is_prompt, LEAST_PROMPT, LEAST_ANSWER)
        units = len(evaluation)
        self._long = GramIndex.of(parts, GRAM, units, np.flatnonzero(lengths >= GRAM))
        short = np.flatnonzero(is_prompt & (lengths >= LEAST_PROMPT) & (lengths < SHORT))
        self._short = GramIndex.of(parts, SHORT_GRAM, units, short)
        self._exact = evaluation.exact()
        self._exact_order = np.argsort(self._exact, kind="stable")
        self._prompt_lengths = lengths[::2]
        self._train = cached_shingles(train)
        self._evaluation = cached_shingles(evaluation)

    def block(self, block: Block) -> Findings:
        """Findings in some training units."""
        long = _matches(self._long, block)
        error = self._wanted[long.part] & (long.coverage >= COVERED)
        warning = ~error & (long.longest >= WARNING_GRAM)
        pieces = [
            self._equal(block),
            self._judged(
                long.train[error], long.part[error] // 2, long.coverage[error], Kind.COVERED
            ),
            self._short_prompts(block),
            _longest_of_each(long, warning),
        ]
        found = np.concatenate(pieces)
        # A pair found in two ways counts as what is worse.
        order = np.lexsort((-found["coverage"], found["kind"], found["evaluation"], found["train"]))
        found = found[order]
        pairs = np.stack([found["train"], found["evaluation"]])
        first = np.any(np.diff(pairs, axis=1, prepend=-1) != 0, axis=0)
        once: Findings = found[first]
        return once

    def _equal(self, block: Block) -> Findings:
        """Units whose both parts are equal."""
        ordered = self._exact[self._exact_order]
        start = np.searchsorted(ordered, block.exact, "left")
        counts = np.searchsorted(ordered, block.exact, "right") - start
        train = np.repeat(np.arange(len(counts)), counts)
        shift = np.repeat(start - np.cumsum(counts) + counts, counts)
        evaluation = self._exact_order[np.arange(len(train)) + shift]
        return _findings(block.first + train, evaluation, Kind.EXACT, 1.0)

    def _short_prompts(self, block: Block) -> Findings:
        """Short prompts that are near to prompts of about their length."""
        found = _matches(self._short, block)
        likely = (found.coverage >= SHORT_COVERED) & (
            block.prompt_words[found.train - block.first] < 2 * SHORT
        )
        judged = self._judged(
            found.train[likely], found.part[likely] // 2, found.coverage[likely], Kind.SHARED
        )
        near: Findings = judged[judged["kind"] == Kind.NEAR]
        return near

    def _judged(
        self, train: Int64, evaluation: Int64, coverage: npt.NDArray[np.float64], other: Kind
    ) -> Findings:
        """NEAR for the pairs that are, `other` for the rest."""
        kinds = [
            Kind.NEAR if self._near(one, two) else other
            for one, two in zip(train.tolist(), evaluation.tolist(), strict=True)
        ]
        return _findings(train, evaluation, np.array(kinds, np.int8), coverage)

    def _near(self, train: int, evaluation: int) -> bool:
        (prompt, answer), (question, truth) = self._train(train), self._evaluation(evaluation)
        if jaccard(prompt, question) < SIMILAR:
            return False
        return (
            bool(self._prompt_lengths[evaluation] >= LEAST_PROMPT)
            or jaccard(answer, truth) >= SIMILAR
        )


def _matches(index: GramIndex, block: Block) -> _Matches:
    """What each training unit of a block shares with each part of the evaluation."""
    pieces = [_of_grams(index, *piece) for piece in index.hits(block)]
    names = ("train", "part", "coverage", "longest")
    joined = {name: np.concatenate([getattr(piece, name) for piece in pieces]) for name in names}
    return _Matches(**joined)


def _of_grams(index: GramIndex, train: Int64, part: Int64, place: Int64) -> _Matches:
    """Coverage and the longest run of each pair; the grams come sorted by pair and place."""
    size = index.size
    if not len(train):
        empty = np.empty(0, np.int64)
        return _Matches(empty, empty, np.empty(0), empty)
    new = np.ones(len(train), np.bool_)
    new[1:] = (train[1:] != train[:-1]) | (part[1:] != part[:-1])
    starts = np.flatnonzero(new)
    gap = np.diff(place, append=place[-1] + size)
    gap[np.append(starts[1:], len(train)) - 1] = size
    covered = np.add.reduceat(np.minimum(gap, size), starts)
    broken = new.copy()
    broken[1:] |= np.diff(place) != 1
    begins = np.flatnonzero(broken)
    runs = np.diff(begins, append=len(place)) + size - 1
    longest = np.maximum.reduceat(runs, np.searchsorted(begins, starts))
    share = np.minimum(1.0, covered / index.countable[part[starts]])
    return _Matches(train[starts], part[starts], share, longest)


def _longest_of_each(found: _Matches, chosen: npt.NDArray[np.bool_]) -> Findings:
    """One finding per training unit: its longest run."""
    at = np.flatnonzero(chosen)
    at = at[np.lexsort((found.part[at], -found.longest[at], found.train[at]))]
    at = at[np.diff(found.train[at], prepend=-1) != 0]
    return _findings(found.train[at], found.part[at] // 2, Kind.SHARED, found.coverage[at])


def _findings(
    train: Int64,
    evaluation: Int64,
    kind: Kind | npt.NDArray[np.int8],
    coverage: float | npt.NDArray[np.float64],
) -> Findings:
    found = np.empty(len(train), FINDING)
    found["train"], found["evaluation"] = train, evaluation
    found["kind"], found["coverage"] = kind, coverage
    return found
