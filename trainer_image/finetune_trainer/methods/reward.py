"""Reward models: two or more answers to one prompt, of which one is better than another.

With r(x, y) the reward of answer y to prompt x, over all pairs of a better answer w and a worse
answer l to one prompt (Ouyang et al. 2022, 2203.02155, equation 1; Bradley and Terry 1952),

    loss = -log s(r(x, w) - r(x, l) - m) + c (r(x, w) + r(x, l))^2

m is 0, or the difference of the answers' scores (Touvron et al. 2023, 2307.09288, equation 2); c
keeps rewards about 0 (Eisenstein et al. 2023, 2312.09244). Equal scores make no pair.
"""

from types import MappingProxyType

import torch
from finetune_api.spec import Reward
from torch.nn import functional

from finetune_trainer.engine.batches import MicroBatch
from finetune_trainer.methods.objective import Counts, Objective, Sums, minimise
from finetune_trainer.methods.ranking import ACCURACY
from finetune_trainer.methods.scorer import LabelScorer
from finetune_trainer.methods.sft import CROSS_ENTROPY

PREFERENCE = "preferenceLoss"
CENTER = "centerLoss"
MARGIN = "margin"
BETTER, WORSE = "chosenReward", "rejectedReward"
_NAMES = (PREFERENCE, CENTER, ACCURACY, MARGIN, BETTER, WORSE)
MEAN, SQUARE = "rewardMean", "rewardSquare"


def objective(settings: Reward) -> Objective:
    """What training minimises, under resolved settings."""

    def sums(scorer: LabelScorer, batch: MicroBatch) -> Sums:
        rewards = scorer.row_rewards(batch)
        if batch.units == 0:
            return dict.fromkeys(_NAMES, rewards.sum() * 0)
        better, worse = _pairs(batch)
        margins = rewards[better] - rewards[worse]
        wanted = batch.values[better] - batch.values[worse] if settings.margin else 0.0
        told = rewards.detach()
        return {
            PREFERENCE: -functional.logsigmoid(margins - wanted).sum(),
            CENTER: (rewards[better] + rewards[worse]).square().sum(),
            ACCURACY: (margins.detach() > 0).float().sum(),
            MARGIN: margins.detach().sum(),
            BETTER: told[better].sum(),
            WORSE: told[worse].sum(),
        }

    def counts(batch: MicroBatch) -> Counts:
        return dict.fromkeys(_NAMES, len(_pairs(batch)[0]) if batch.units else 0)

    weights = {PREFERENCE: 1.0, CENTER: float(settings.center_coefficient)}
    minimised = MappingProxyType({name: weight for name, weight in weights.items() if weight})
    return Objective(sums, counts, minimised)


def _pairs(batch: MicroBatch) -> tuple[torch.Tensor, torch.Tensor]:
    """(rows of the better answers, of the worse ones): int64 [P] of all pairs of one unit."""
    same = batch.row_units[:, None] == batch.row_units[None, :]
    better, worse = (same & (batch.values[:, None] > batch.values[None, :])).nonzero(as_tuple=True)
    return better, worse


def _ranking_sums(scorer: LabelScorer, batch: MicroBatch) -> Sums:
    found = objective(Reward()).sums(scorer, batch)
    return {CROSS_ENTROPY: found[PREFERENCE], ACCURACY: found[ACCURACY]}


def _ranking_counts(batch: MicroBatch) -> Counts:
    pairs = len(_pairs(batch)[0]) if batch.units else 0
    return {CROSS_ENTROPY: pairs, ACCURACY: pairs}


RANKING = Objective(_ranking_sums, _ranking_counts, minimise(CROSS_ENTROPY))
"""Measures a reward model: cross entropy of the pairs' order, and the share that it ranks
rightly."""


def _moment_sums(scorer: LabelScorer, batch: MicroBatch) -> Sums:
    rewards = scorer.row_rewards(batch)
    if batch.units == 0:
        return dict.fromkeys((MEAN, SQUARE), rewards.sum() * 0)
    return {MEAN: rewards.sum(), SQUARE: rewards.square().sum()}


def _moment_counts(batch: MicroBatch) -> Counts:
    return dict.fromkeys((MEAN, SQUARE), batch.rows)


MOMENTS = Objective(_moment_sums, _moment_counts, minimise())
"""Mean and mean square of all rewards, from which what uses the model centres and scales them."""
