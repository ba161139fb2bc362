"""Odds-ratio preference optimisation: pairs, in one stage and without a reference.

Hong et al. 2024 (2403.07691), equations 4 to 7. With P(y|x) = exp of the mean of log p over the
label tokens of y and odds = P / (1 - P),

    loss = NLL(x, w) - beta * log s(log odds(w|x) - log odds(l|x))

The paper's NLL is the mean over the tokens of the chosen side; its code and TRL count the prompt's
tokens too, and so does this.
"""

import torch
from finetune_api.spec import Orpo
from torch.nn import functional

from finetune_trainer.engine.batches import MicroBatch
from finetune_trainer.methods.objective import Counts, Objective, Sums
from finetune_trainer.methods.ranking import ACCURACY, chosen_labels
from finetune_trainer.methods.scorer import LabelScorer
from finetune_trainer.methods.sft import CROSS_ENTROPY

ODDS_RATIO = "oddsRatioLoss"
LOG_ODDS = "logOddsRatio"
_OF_PAIRS = (ODDS_RATIO, LOG_ODDS, ACCURACY)


def objective(settings: Orpo) -> Objective:
    """What training minimises, under resolved settings."""
    weights = {CROSS_ENTROPY: 1.0, ODDS_RATIO: float(settings.beta)}
    return Objective(_sums, _counts, weights, reads_prompts=True)


def _sums(scorer: LabelScorer, batch: MicroBatch) -> Sums:
    logprobs = scorer.logprobs(batch)
    if batch.units == 0:
        return dict.fromkeys((*_OF_PAIRS, CROSS_ENTROPY), logprobs.sum())
    assert batch.is_answer is not None, "prompts are read"
    chosen = batch.label_rows % 2 == 0
    means = _means(logprobs[batch.is_answer], batch.label_rows[batch.is_answer], batch.rows)
    odds = (means - log1mexp(means)).view(-1, 2)
    ratios = odds[:, 0] - odds[:, 1]
    return {
        CROSS_ENTROPY: -logprobs[chosen].sum(),
        ODDS_RATIO: -functional.logsigmoid(ratios).sum(),
        LOG_ODDS: ratios.detach().sum(),
        ACCURACY: (ratios.detach() > 0).float().sum(),
    }


def _counts(batch: MicroBatch) -> Counts:
    return {**dict.fromkeys(_OF_PAIRS, batch.units), CROSS_ENTROPY: chosen_labels(batch)}


def _means(values: torch.Tensor, rows: torch.Tensor, count: int) -> torch.Tensor:
    """Mean of `values` [L] of each of `count` rows: float32 [count]."""
    zeros = torch.zeros(count, device=values.device)
    sums = zeros.index_add(0, rows, values)
    return sums / zeros.index_add(0, rows, torch.ones_like(values))


def log1mexp(values: torch.Tensor) -> torch.Tensor:
    """log(1 - exp(x)) of x < 0, without losing digits near 0 or far from it (Maechler 2012)."""
    limit = torch.finfo(values.dtype).tiny
    values = values.clamp(max=-limit)
    near = values > -0.6931471805599453
    # Both branches are computed, and the gradient of the one not taken must be finite.
    small = torch.log(-torch.expm1(torch.where(near, values, -1.0)))
    large = torch.log1p(-torch.exp(torch.where(near, -1.0, values)))
    return torch.where(near, small, large)
