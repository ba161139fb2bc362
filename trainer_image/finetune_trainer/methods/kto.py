"""Kahneman-Tversky optimisation: completions that people found desirable or not.

Ethayarajh et al. 2024 (2402.01306), equations 7 and 8. With the policy pi, the reference r and
log pi(y|x) the sum over the completion's label tokens,

    h = log pi(y|x) - log r(y|x)
    z0 = max(0, mean of log pi(y'|x) - log r(y'|x) over partner rows of the global batch)
    loss = weight * (1 - s(beta (h - z0)))   of a desirable row
           weight * (1 - s(beta (z0 - h)))   of an undesirable one

y' is the completion of another prompt (`data.partners`); z0 carries no gradient.
"""

import numpy as np
import torch
from finetune_api.spec import Kto

from finetune_trainer.arrays import Float32
from finetune_trainer.engine.batches import MicroBatch
from finetune_trainer.methods.objective import Counts, Objective, Sums, minimise
from finetune_trainer.methods.scorer import LabelScorer
from finetune_trainer.methods.sft import CROSS_ENTROPY

PREFERENCE = "preferenceLoss"
KL = "klEstimate"
DESIRABLE, UNDESIRABLE = "desirableReward", "undesirableReward"
_NAMES = (PREFERENCE, DESIRABLE, UNDESIRABLE)


def class_weights(settings: Kto, values: Float32) -> tuple[float, float]:
    """(weight of desirable rows, of undesirable ones).

    Args:
        values: [R] 1 for each desirable training row, 0 for the others; where the settings give no
            weights the rarer kind is weighted up until both weigh alike.
    """
    if settings.desirable_weight is not None and settings.undesirable_weight is not None:
        return float(settings.desirable_weight), float(settings.undesirable_weight)
    desirable = float(np.count_nonzero(values))
    undesirable = len(values) - desirable
    most = max(desirable, undesirable)
    return most / max(1.0, desirable), most / max(1.0, undesirable)


def objective(settings: Kto, values: Float32) -> Objective:
    """What training minimises, under resolved settings; `values` as for `class_weights`."""
    beta = float(settings.beta)
    up, down = class_weights(settings, values)

    def sums(scorer: LabelScorer, batch: MicroBatch) -> Sums:
        logprobs = scorer.row_logprobs(batch)
        if batch.rows == 0:
            return dict.fromkeys(_NAMES, logprobs.sum())
        assert batch.reference is not None, "the reference pass comes first"
        gains = logprobs - batch.reference
        desirable = batch.values > 0
        sign = torch.where(desirable, 1.0, -1.0)
        weights = torch.where(desirable, up, down)
        zero = max(0.0, batch.given[KL])
        losses = weights * (1 - torch.sigmoid(beta * sign * (gains - zero)))
        rewards = beta * gains.detach()
        return {
            PREFERENCE: losses.sum(),
            DESIRABLE: rewards[desirable].sum(),
            UNDESIRABLE: rewards[~desirable].sum(),
        }

    return Objective(
        sums,
        _counts,
        minimise(PREFERENCE),
        needs_reference=True,
        preliminary=Objective(_kl_sums, _kl_counts, minimise()),
    )


def _counts(batch: MicroBatch) -> Counts:
    desirable = int((batch.values > 0).sum()) if batch.rows else 0
    return {
        PREFERENCE: batch.rows,
        DESIRABLE: desirable,
        UNDESIRABLE: batch.rows - desirable,
    }


def _kl_sums(scorer: LabelScorer, batch: MicroBatch) -> Sums:
    logprobs = scorer.row_logprobs(batch)
    if batch.rows == 0:
        return {KL: logprobs.sum()}
    assert batch.reference is not None, "the reference pass comes first"
    return {KL: (logprobs - batch.reference).sum()}


def _kl_counts(batch: MicroBatch) -> Counts:
    return {KL: batch.rows}


def _desirable_sums(scorer: LabelScorer, batch: MicroBatch) -> Sums:
    logprobs = scorer.row_logprobs(batch)
    if batch.rows == 0:
        return {CROSS_ENTROPY: logprobs.sum()}
    return {CROSS_ENTROPY: -logprobs[batch.values > 0].sum()}


def _desirable_counts(batch: MicroBatch) -> Counts:
    if batch.rows == 0:
        return {CROSS_ENTROPY: 0}
    return {CROSS_ENTROPY: int((batch.values[batch.label_rows] > 0).sum())}


DESIRABLE_ROWS = Objective(_desirable_sums, _desirable_counts, minimise(CROSS_ENTROPY))
"""Measures a model without a reference: cross entropy of the desirable completions."""
