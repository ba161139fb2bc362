"""What a unit leaves behind for the comparison with all others."""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import xxhash

from finetune_trainer.checks.shingles import SHORT, UInt64, part_shingles
from finetune_trainer.checks.words import Words, hashes_of, normalised, words_of

BANDS = 25
ROWS = 5
"""Minima per band. Units of similarity J share a band with probability 1 - (1 - J^5)^25:
.55 at J = .5, .99 at .7, 1.0 at .8 (Leskovec et al., Mining of Massive Datasets, 3.4.2)."""
_PERMUTATIONS = BANDS * ROWS
_STATE = np.random.SeedSequence(0x4D494E48).generate_state(2 * _PERMUTATIONS + ROWS, np.uint64)
_FACTORS = _STATE[:_PERMUTATIONS] | np.uint64(1)
_ADDENDS = _STATE[_PERMUTATIONS : 2 * _PERMUTATIONS]
_BAND_FACTORS = _STATE[2 * _PERMUTATIONS :] | np.uint64(1)
_ANSWER = np.uint64(0xD6E8FEB86659FD93)
SKETCH = 16
"""Minima per part of which one byte is kept."""
_BYTE = np.uint64(8)
_CHUNK = 256
"""Shingles permuted at once: 125 permutations of them stay in the second-level cache."""


@dataclass(frozen=True, slots=True)
class Print:
    """Hashes of one unit: P words in the prompt, A in the answer."""

    bands: UInt64
    """[25] MinHash of the shingles of both parts, each part's with its tag."""
    words: Words
    """[P + A] A hash per word."""
    prompt_words: int
    """P."""
    letters: Words
    """[L] Code points of the parts of under 20 words, normalised; no others."""
    prompt_letters: int
    """How many of the letters are the prompt's."""
    sketch: npt.NDArray[np.uint8]
    """[2, 16] A byte of the first minima of the prompt and of the answer, each by itself."""
    exact: int
    """A signed 64-bit hash of both parts, normalised with punctuation."""


def print_of(prompt: str, answer: str) -> Print:
    """The print of a unit: a document, or a question, which may have no answer."""
    normal_prompt, normal_answer = normalised(prompt), normalised(answer)
    prompt_words, prompt_letters = _part(normal_prompt)
    answer_words, answer_letters = _part(normal_answer)
    of_prompt = minima(part_shingles(prompt_words, prompt_letters))
    of_answer = minima(part_shingles(answer_words, answer_letters) ^ _ANSWER)
    sketch = np.empty((2, SKETCH), np.uint8)
    sketch[0], sketch[1] = of_prompt[:SKETCH] >> _BYTE, of_answer[:SKETCH] >> _BYTE
    both = f"{len(normal_prompt)}\0{normal_prompt}{normal_answer}"
    exact = xxhash.xxh3_64_intdigest(both.encode(errors="surrogatepass"))
    return Print(
        bands=bands_of(np.minimum(of_prompt, of_answer)),
        words=np.concatenate((prompt_words, answer_words)),
        prompt_words=len(prompt_words),
        letters=np.concatenate((prompt_letters, answer_letters)),
        prompt_letters=len(prompt_letters),
        sketch=sketch,
        exact=exact - 2**64 if exact >= 2**63 else exact,
    )


def minima(shingles: UInt64) -> UInt64:
    """[125] The least of each permutation of the shingles; all ones if there are none."""
    least = np.full(_PERMUTATIONS, 2**64 - 1, np.uint64)
    for start in range(0, len(shingles), _CHUNK):
        permuted = shingles[start : start + _CHUNK, None] * _FACTORS
        permuted += _ADDENDS
        np.minimum(least, permuted.min(axis=0), out=least)
    return least


def bands_of(least: UInt64) -> UInt64:
    """[25] A hash of the five minima of each band."""
    rows = least.reshape(BANDS, ROWS)
    bands: UInt64 = (rows * _BAND_FACTORS).sum(axis=1, dtype=np.uint64)
    return bands


def _part(normal: str) -> tuple[Words, Words]:
    """Words and, of a short part, letters."""
    words = words_of(normal)
    letters: npt.NDArray[np.uint32] = np.empty(0, np.uint32)
    if len(words) < SHORT and normal:
        letters = np.frombuffer(normal.encode("utf-32-le", errors="surrogatepass"), np.uint32)
    return hashes_of(words), letters
