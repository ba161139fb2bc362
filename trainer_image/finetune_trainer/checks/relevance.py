"""How near a text is to a domain that samples describe."""

import heapq
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Self

import numpy as np
import numpy.typing as npt
import xxhash

from finetune_trainer.checks.words import hashes_of, normalised, words_of

Float32 = npt.NDArray[np.float32]

FEATURES = 2**18
MOST_SAMPLES = 512
"""Texts of the domain that a text is compared with."""
MOST_CHARACTERS = 20_000
"""Of a text; what stands after them does not count."""


@dataclass(frozen=True)
class Relevance:
    """Hashed TF-IDF of up to S samples of a domain, by feature."""

    weights: Float32
    """[2^18] Inverse document frequency: 1 + ln((1 + N) / (1 + documents with it))."""
    starts: npt.NDArray[np.int64]
    """[2^18 + 1] Where each feature's entries begin."""
    samples: npt.NDArray[np.int64]
    """[E] Sample of each entry."""
    values: Float32
    """[E] The sample's weight of the feature; each sample has length 1."""
    count: int
    """S."""

    @classmethod
    def of(cls, domain: Iterable[str]) -> Self:
        """Read a domain's texts once; the 512 of the smallest hash are the samples.

        Which those are depends on the texts alone, not on their order; so does every score.
        """
        frequency = np.zeros(FEATURES, np.int64)
        chosen: dict[int, str] = {}
        largest: list[int] = []
        documents = 0
        for text in domain:
            normal = normalised(text[:MOST_CHARACTERS])
            frequency[np.unique(_features(normal))] += 1
            documents += 1
            _choose(normal, chosen, largest)
        weights = (1 + np.log((1 + documents) / (1 + frequency))).astype(np.float32)
        return cls._index(weights, [chosen[key] for key in sorted(chosen)])

    @classmethod
    def _index(cls, weights: Float32, texts: list[str]) -> Self:
        vectors = [_vector(text, weights) for text in texts]
        features = np.concatenate([np.empty(0, np.int64), *(found for found, _ in vectors)])
        values = np.concatenate([np.empty(0, np.float32), *(value for _, value in vectors)])
        samples = np.repeat(np.arange(len(vectors)), [len(found) for found, _ in vectors])
        order = np.argsort(features, kind="stable")
        starts = np.searchsorted(features[order], np.arange(FEATURES + 1))
        return cls(weights, starts, samples[order], values[order], len(vectors))

    def score(self, text: str) -> float:
        """The cosine with the nearest sample: 0 without a common word, 1 for a sample itself.

        Words and pairs of words, counted as 1 + ln(count). Short texts score low even if they
        belong: compare scores within one set of data, and with those of the domain's own texts.
        """
        features, values = _vector(normalised(text[:MOST_CHARACTERS]), self.weights)
        begin, end = self.starts[features], self.starts[features + 1]
        sizes = end - begin
        if not sizes.sum():
            return 0.0
        shifts = np.repeat(begin - np.cumsum(sizes) + sizes, sizes)
        entries = np.arange(len(shifts)) + shifts
        products = self.values[entries] * np.repeat(values, sizes)
        cosines = np.bincount(self.samples[entries], products, self.count)
        return min(1.0, float(cosines.max()))


def _choose(text: str, chosen: dict[int, str], largest: list[int]) -> None:
    """Keep the text if its hash is among the smallest; `largest` is a heap of those negated."""
    key = xxhash.xxh3_64_intdigest(text.encode(errors="surrogatepass"))
    if key in chosen:
        return
    if len(chosen) < MOST_SAMPLES:
        heapq.heappush(largest, -key)
        chosen[key] = text
    elif key < -largest[0]:
        del chosen[-heapq.heapreplace(largest, -key)]
        chosen[key] = text


def _features(normal: str) -> npt.NDArray[np.int64]:
    words = hashes_of(words_of(normal)).astype(np.int64)
    pairs = words[:-1] * 31 + words[1:]
    return np.concatenate((words, pairs ^ (pairs >> 13))) % FEATURES


def _vector(normal: str, weights: Float32) -> tuple[npt.NDArray[np.int64], Float32]:
    """Distinct features of a text and their weights, of length 1 together."""
    features, counts = np.unique(_features(normal), return_counts=True)
    values = (1 + np.log(counts)).astype(np.float32) * weights[features]
    length = float(np.sqrt(np.square(values).sum()))
    return features, values / length if length else values
