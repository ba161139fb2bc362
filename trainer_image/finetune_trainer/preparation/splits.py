"""From the sources of a job to its two splits of units."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from finetune_api.errors import UserError
from finetune_api.reasons import Reason
from finetune_api.spec import FineTuneJobSpec, Method
from finetune_api.units import Unit

from finetune_trainer.data.blocks import cut_into_blocks
from finetune_trainer.data.partners import partners_of
from finetune_trainer.data.spool import AnswerSpool, UnitSpool
from finetune_trainer.preparation.corpus import CorpusReader
from finetune_trainer.preparation.cross_checks import CrossChecks
from finetune_trainer.preparation.holding_out import hold_out
from finetune_trainer.preparation.local_files import LocalSources
from finetune_trainer.prepared import PreparedSplit, SourceInfo
from finetune_trainer.prepared_files import HasArrays
from finetune_trainer.texts import Texts


@dataclass(frozen=True)
class Splits:
    """Rows, pairs, prompts or blocks."""

    train: PreparedSplit
    evaluation: PreparedSplit
    """Held out; may be empty."""
    files: tuple[HasArrays, HasArrays]
    """The arrays of both, on disk."""
    answers: tuple[AnswerSpool, AnswerSpool] | None = None
    """The right answers to the prompts of both; None where no row has one."""

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
    reader: CorpusReader, sources: LocalSources, spec: FineTuneJobSpec, unit: Unit, folder: Path
) -> Splits:
    """Read all sources, leave out what the checks say, hold some units out unless evaluation
    sources are given, cut documents.

    Documents are held out whole, before they are cut, and never those of replay. `folder` takes
    the splits. Raises UserError for a source that cannot be read at all.
    """
    checks = CrossChecks(spec.data.checks, reader.findings)
    train, evaluation = UnitSpool(folder / "train"), UnitSpool(folder / "evaluation")
    with reader.read([*sources.train, *sources.replay]) as read:
        dropped = checks.dropped(read)
        if sources.evaluation:
            with reader.read(sources.evaluation) as given:
                left_out = checks.dropped(given, evaluation=True)
                evaluation.extend(given.units, ~left_out)
                dropped |= checks.leaking(read, given, dropped, left_out)
            train.extend(read.units, ~dropped)
        else:
            compared = folder / "held-out"
            held_out = hold_out(read, ~dropped, len(sources.train), spec, reader.findings, compared)
            train.extend(read.units, ~(dropped | held_out))
            evaluation.extend(read.units, held_out)
        reader.findings.dropped_units = int(dropped.sum())
        reader.findings.checked_out = read.rows(np.flatnonzero(dropped))
    if unit is Unit.BLOCK:
        length = spec.training.sequence_length
        train = _cut(train, folder / "train-blocks", length)
        evaluation = _cut(evaluation, folder / "evaluation-blocks", length)
    answers = (train.answers, evaluation.answers)
    some = any(each.holds_some for each in answers)
    return Splits(
        train.mapped(), evaluation.mapped(), (train, evaluation), answers if some else None
    )


def _cut(documents: UnitSpool, folder: Path, length: int) -> UnitSpool:
    """The blocks of `documents`, in `folder`; the documents themselves are removed."""
    blocks = UnitSpool(folder)
    for part in cut_into_blocks(documents, length):
        blocks.append(part, Texts.of([""] * part.units))
    documents.remove()
    return blocks


def counted(sources: Sequence[SourceInfo], train: PreparedSplit) -> list[SourceInfo]:
    """`sources` with what of each goes to training."""
    size = len(sources)
    units = np.bincount(train.unit_sources, minlength=size)
    tokens = np.bincount(train.unit_sources, train.unit_lengths, minlength=size)
    return [
        source.model_copy(update={"units": int(units[i]), "tokens": int(tokens[i])})
        for i, source in enumerate(sources)
    ]
