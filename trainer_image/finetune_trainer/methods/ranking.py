"""How a model ranks pairs of a chosen and a rejected completion, without a reference."""

from types import MappingProxyType

from finetune_trainer.engine.batches import MicroBatch
from finetune_trainer.methods.objective import Counts, Objective, Sums
from finetune_trainer.methods.scorer import LabelScorer
from finetune_trainer.methods.sft import CROSS_ENTROPY

ACCURACY = "accuracy"


def chosen_labels(batch: MicroBatch) -> int:
    """Labels of the chosen rows; call it before the batch moves to a device."""
    return int((batch.label_rows % 2 == 0).sum()) if batch.units else 0


def _sums(scorer: LabelScorer, batch: MicroBatch) -> Sums:
    logprobs = scorer.row_logprobs(batch)
    if batch.units == 0:
        return dict.fromkeys((CROSS_ENTROPY, ACCURACY), logprobs.sum())
    pairs = logprobs.view(-1, 2)
    return {
        CROSS_ENTROPY: -pairs[:, 0].sum(),
        ACCURACY: (pairs[:, 0] > pairs[:, 1]).float().sum(),
    }


def _counts(batch: MicroBatch) -> Counts:
    return {CROSS_ENTROPY: chosen_labels(batch), ACCURACY: batch.units}


RANKING = Objective(_sums, _counts, MappingProxyType({CROSS_ENTROPY: 1.0}))
"""Measures a model without a reference: cross entropy of the chosen completions, and the share of
pairs whose chosen completion it finds likelier than the rejected one (ranking accuracy, Chen et
al. 2024, 2405.19534)."""
