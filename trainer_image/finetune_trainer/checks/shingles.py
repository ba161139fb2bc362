"""Windows of words and of characters as 64-bit numbers, and how alike two sets of them are."""

import numpy as np
import numpy.typing as npt

from finetune_trainer.checks.words import Words

UInt64 = npt.NDArray[np.uint64]

WINDOW = 5
"""Words or characters in a shingle."""
SHORT = 20
"""Words below which a part is compared by its characters: one word in ten changes half of the
shingles of words."""
_SEED = np.random.SeedSequence(0x5348494E)
_FACTORS = _SEED.generate_state(32, np.uint64) | np.uint64(1)
_FIRST = np.uint64(0xBF58476D1CE4E5B9)
_SECOND = np.uint64(0x94D049BB133111EB)
_SHIFTS = np.array([30, 27, 31], np.uint64)


def windows(values: npt.NDArray[np.uint32], size: int) -> UInt64:
    """[N - size + 1] A hash of each window of `size` values; of shorter ones a hash of them all.

    A sum of products with odd 64-bit factors, then splitmix64's last steps: (a*h + b) >> 32
    with a 32-bit factor would grow with h, and all permutations would choose the same shingle.
    """
    if not len(values):
        return np.empty(0, np.uint64)
    size = min(size, len(values))
    count = len(values) - size + 1
    wide = values.astype(np.uint64)
    # A view of the windows, one step of a word apart: no copy, and one call for all places.
    each: UInt64 = np.ndarray((count, size), np.uint64, wide.data, 0, (8, 8))
    total: UInt64 = each @ _FACTORS[:size]
    _mix(total)
    return total


def _mix(state: UInt64) -> None:
    """splitmix64's finaliser, in place."""
    state ^= state >> _SHIFTS[0]
    state *= _FIRST
    state ^= state >> _SHIFTS[1]
    state *= _SECOND
    state ^= state >> _SHIFTS[2]


def part_shingles(words: Words, letters: Words) -> UInt64:
    """Shingles of one part, not unique: of its letters if it has some, else of its words.

    Letters are the code points of a short part, see `prints.Print`.
    """
    return ~windows(letters, WINDOW) if len(letters) else windows(words, WINDOW)


def jaccard(a: frozenset[int], b: frozenset[int]) -> float:
    """|a and b| / |a or b|; two empty sets are equal."""
    if not a and not b:
        return 1.0
    both = len(a & b)
    return both / (len(a) + len(b) - both)
