"""From the sources of a job to its two splits of units."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from finetune_api.errors import UserError
from finetune_api.reasons import Reason
from finetune_api.spec import FineTuneJobSpec, Method, TrainingEngine
from finetune_api.units import Unit

from finetune_trainer.data.blocks import cut_into_blocks
from finetune_trainer.data.corpus import CorpusReader, LocalSource
from finetune_trainer.data.partners import partners_of
from finetune_trainer.data.split import choose_held_out, held_out_target
from finetune_trainer.data.table import UnitTable, select_units
from finetune_trainer.prepared import Answers, PreparedSplit, SourceInfo


@dataclass(frozen=True)
class LocalSources:
    """All sources of a job on this machine."""

    train: Sequence[LocalSource]
    replay: Sequence[LocalSource]
    evaluation: Sequence[LocalSource]

    @property
    def all(self) -> list[LocalSource]:
        """In the order in which `PreparedMetadata.sources` counts them."""
        return [*self.train, *self.replay, *self.evaluation]


@dataclass(frozen=True)
class Splits:
    """Rows, pairs, prompts or blocks."""

    train: PreparedSplit
    evaluation: PreparedSplit
    """Held out; may be empty."""
    answers: Answers | None = None
    """The right answers to the prompts of both; None where no row has one."""

    def check_pairs(self, spec: FineTuneJobSpec) -> None:
        """Raise UserError InvalidData for rankings where pairs alone are trained on."""
        if spec.method is not Method.REWARD or spec.training.engine is not TrainingEngine.TRL:
            return
        longer = np.flatnonzero(np.diff(self.train.unit_offsets) > 2)
        if len(longer):
            raise UserError(
                Reason.INVALID_DATA,
                f"training.engine TRL takes pairs, and {len(longer)} rows rank more than two "
                "answers: write Native",
                where="spec.training.engine",
            )

    def partners(self, spec: FineTuneJobSpec) -> tuple[PreparedSplit, PreparedSplit] | None:
        """KTO's partner rows of both; None for other methods. Raises UserError InvalidData."""
        if spec.method is not Method.KTO:
            return None
        values = self.train.row_values
        if (values == values[0]).all():
            kind = "desirable" if values[0] else "undesirable"
            raise UserError(
                Reason.INVALID_DATA,
                f"all {self.train.units} training rows are {kind}; KTO needs both kinds: add rows "
                f"of the other, or use SFT for answers that are all desirable",
                where=spec.data.train[0].uri,
            )
        seed, longest = spec.training.seed, spec.training.sequence_length
        train, evaluation = (
            partners_of(split, self.train, seed, longest) for split in (self.train, self.evaluation)
        )
        return train, evaluation


def read_splits(
    reader: CorpusReader, sources: LocalSources, spec: FineTuneJobSpec, unit: Unit
) -> Splits:
    """Read all sources, hold some units out unless evaluation sources are given, cut documents.

    Documents are held out whole, before they are cut, and never those of replay. Raises UserError
    for a source that cannot be read at all.
    """
    table = reader.read([*sources.train, *sources.replay])
    if sources.evaluation:
        given = reader.read(sources.evaluation)
        answers = table.answers(), given.answers()
        splits = Splits(table.to_split(), given.to_split(), _unless_empty(answers))
    else:
        splits = _hold_out(table, len(sources.train), spec)
    if unit is not Unit.BLOCK:
        return splits
    length = spec.training.sequence_length
    return Splits(cut_into_blocks(splits.train, length), cut_into_blocks(splits.evaluation, length))


def _hold_out(table: UnitTable, sources: int, spec: FineTuneJobSpec) -> Splits:
    """Take some units of the first `sources` sources away."""
    split, answers = table.to_split(), table.answers()
    candidates = split.unit_sources < sources
    groups = split.group_ids[split.unit_offsets[:-1]][candidates]
    target = held_out_target(len(groups), spec.data.evaluation_fraction)
    held_out = np.zeros(split.units, np.bool_)
    held_out[candidates] = choose_held_out(groups, target, spec.training.seed)
    kept = np.logical_not(held_out)
    return Splits(
        select_units(split, kept),
        select_units(split, held_out),
        _unless_empty((answers.select(kept), answers.select(held_out))),
    )


def _unless_empty(answers: Answers) -> Answers | None:
    return answers if any(len(texts.content) for texts in answers) else None


def counted(sources: Sequence[SourceInfo], train: PreparedSplit) -> list[SourceInfo]:
    """`sources` with what of each goes to training."""
    size = len(sources)
    units = np.bincount(train.unit_sources, minlength=size)
    tokens = np.bincount(train.unit_sources, train.unit_lengths, minlength=size)
    return [
        source.model_copy(update={"units": int(units[i]), "tokens": int(tokens[i])})
        for i, source in enumerate(sources)
    ]
