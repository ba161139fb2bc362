"""How much of each train source an epoch reads, and in which steps, as the spec asks for it."""

import math
from collections.abc import Sequence
from fractions import Fraction

import numpy as np
from finetune_api.errors import UserError
from finetune_api.reasons import Reason
from finetune_api.spec import FineTuneJobSpec, Mixing, MixingStop, RowSource

from finetune_trainer.engine.plan import Mixture, Plan
from finetune_trainer.prepared import Prepared, PreparedMetadata, PreparedSplit

MAX_LAPS = 1000
"""Times that an epoch may read one source; beyond this a weight is a slip of the pen."""


def plan_of(spec: FineTuneJobSpec, prepared: Prepared) -> Plan:
    """The steps of a resolved spec over its prepared data; raises what `mixture_of` does."""
    return Plan.make(
        mixture=mixture_of(spec, prepared.metadata, prepared.train),
        batch=spec.training.global_batch_size,
        seed=spec.training.seed,
        epochs=spec.training.epochs,
        max_steps=spec.training.max_steps,
    )


def mixture_of(spec: FineTuneJobSpec, metadata: PreparedMetadata, split: PreparedSplit) -> Mixture:
    """The mixture of a resolved spec over its train split.

    Raises UserError for shares that no epoch can have.
    """
    sources = len(train_sources(spec))
    assert sources <= len(metadata.sources)
    return mixture_of_sizes(spec, np.bincount(split.unit_sources, minlength=sources).tolist())


def mixture_of_sizes(spec: FineTuneJobSpec, sizes: Sequence[int]) -> Mixture:
    """The same from the units of each source, in the order of `train_sources`.

    Concat reads every source once. Interleave reads n sources of sizes s in parts p (their
    weights, divided by the sum): s_i / p_i draws exhaust source i, and an epoch has the least of
    these (FirstExhausted) or the greatest (AllExhausted), each source its part of them, rounded.
    With replay of shares r, those units are 1 - sum(r) of the epoch.
    """
    domain = len(spec.data.train)
    counts = _train_counts(spec, sizes[:domain])
    replay = spec.cpt.replay if spec.cpt else []
    shares = [Fraction(source.share) for source in replay]
    total = Fraction(sum(counts)) / (1 - sum(shares, Fraction(0)))
    counts += [_rounded(share * total) for share in shares]
    for source, size, count in zip(train_sources(spec), sizes, counts, strict=True):
        _check(source, size, count)
    return Mixture.of(sizes, counts)


def train_sources(spec: FineTuneJobSpec) -> list[RowSource]:
    """What is trained on: the train sources and, after them, those of replay."""
    return [*spec.data.train, *(spec.cpt.replay if spec.cpt else [])]


def _train_counts(spec: FineTuneJobSpec, sizes: Sequence[int]) -> list[int]:
    if spec.data.mixing is Mixing.CONCAT:
        return list(sizes)
    weights = [Fraction(source.weight or "1") for source in spec.data.train]
    parts = [weight / sum(weights) for weight in weights]
    draws = [size / part for size, part in zip(sizes, parts, strict=True)]
    total = max(draws) if spec.data.mixing_stop is MixingStop.ALL_EXHAUSTED else min(draws)
    return [_rounded(part * total) for part in parts]


def _rounded(count: Fraction) -> int:
    """Half up, and never nothing: a source that is named is read."""
    return max(1, math.floor(count + Fraction(1, 2)))


def _check(source: RowSource, size: int, count: int) -> None:
    if count and not size:
        raise UserError(
            Reason.INVALID_DATA,
            "nothing of this source is left to train on, so it cannot have a share of an epoch; "
            "remove it, or mend its rows",
            where=source.uri,
        )
    if count > MAX_LAPS * max(1, size):
        raise UserError(
            Reason.INVALID_SPEC,
            f"an epoch would read this source {count // size} times over; give it a smaller "
            "weight or share, or more rows",
            where=source.uri,
        )
