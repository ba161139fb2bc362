"""Proximal policy optimisation on answers that the policy wrote, against a reward model.

Schulman et al. 2017 (1707.06347) with a value model, as for language in Ziegler et al. 2019
(1909.08593) and Stiennon et al. 2020 (2009.01325). Token t of an answer has the reward

    r_t = -beta (log pi_old(t) - log q(t)) + [t is the last] score

with the reference q; V(t) is the value of the text before t. Advantages are those of generalised
advantage estimation (Schulman et al. 2015, 1506.02438, equation 16):

    d_t = r_t + gamma V(t+1) - V(t)        A_t = d_t + gamma lambda A_(t+1)        R_t = A_t + V(t)

with V = 0 after the last token, whitened over the batch. An update minimises, over all tokens of
its answers, with p = pi(t) / pi_old(t),

    mean(-min(p A, clip(p, 1 - e, 1 + e) A))
    + c / 2 mean(max((v - R)^2, (clip(v, V - e_v, V + e_v) - R)^2))

Probabilities are those at the sampling temperature.
"""

import numpy as np
import torch
from finetune_api.spec import Ppo

from finetune_trainer.arrays import Float32, Int64
from finetune_trainer.engine.batches import MicroBatch
from finetune_trainer.methods.actor_critic import ActorCriticScorer
from finetune_trainer.methods.objective import Counts, Objective, Sums
from finetune_trainer.methods.scorer import LabelScorer

POLICY, VALUE_LOSS = "policyLoss", "valueLoss"
CLIPPED, VALUE_CLIPPED, MOVED = "clipFraction", "valueClipFraction", "updateKl"
_NAMES = (POLICY, VALUE_LOSS, CLIPPED, VALUE_CLIPPED, MOVED)
ADVANTAGE, RETURN, OLD, VALUE = "advantage", "return", "old", "value"
"""Facts of each label."""
_EPSILON = 1e-8
_KL_RATE, _KL_LIMIT = 0.1, 0.2


def token_rewards(
    scores: Float32, old: Float32, reference: Float32, ends: Int64, coefficient: float
) -> Float32:
    """[labels] reward of each token.

    Args:
        scores: [R] of whole answers.
        old, reference: [labels] log-probabilities when it was drawn, and under the reference.
        ends: [R] label after each answer's last.
    """
    rewards = (-coefficient * (old.astype(np.float64) - reference)).astype(np.float32)
    rewards[ends - 1] += scores
    return rewards


def advantages(
    rewards: Float32, values: Float32, offsets: Int64, *, gamma: float, decay: float
) -> Float32:
    """[labels] generalised advantage estimates, not whitened; `offsets` [R + 1] of the answers.

    Nothing follows an answer's last token, whether it ended by itself or was cut.
    """
    found = np.zeros(len(rewards), np.float64)
    for begin, end in zip(offsets[:-1].tolist(), offsets[1:].tolist(), strict=True):
        following, value_after = 0.0, 0.0
        for token in range(end - 1, begin - 1, -1):
            surprise = float(rewards[token]) + gamma * value_after - float(values[token])
            following = surprise + gamma * decay * following
            found[token] = following
            value_after = float(values[token])
    return found.astype(np.float32)


def whiten(values: Float32, *, center: bool = True) -> Float32:
    """`values` of the whole batch with deviation 1 and mean 0, or the mean that they had."""
    wide = values.astype(np.float64)
    mean = wide.mean()
    scaled = (wide - mean) / np.sqrt(wide.var() + _EPSILON)
    whitened: Float32 = (scaled if center else scaled + mean).astype(np.float32)
    return whitened


def next_coefficient(coefficient: float, divergence: float, target: float) -> float:
    """The adaptive controller's next weight of the KL penalty (Ziegler et al. 2019, section 2.2).

    Args:
        divergence: of the last batch's answers, in nats.
    """
    error = min(max(divergence / target - 1, -_KL_LIMIT), _KL_LIMIT)
    return coefficient * (1 + _KL_RATE * error)


def explained_variance(values: Float32, returns: Float32) -> float:
    """Share of the returns' variance that the values foretell; 1 is all, 0 no better than one
    number."""
    spread = float(returns.var(dtype=np.float64))
    left = float((returns - values).var(dtype=np.float64))
    return 1 - left / spread if spread > 0 else 0.0


def objective(settings: Ppo) -> Objective:
    """What an update minimises, under resolved settings; trains an `ActorCritic`."""
    temperature = float(settings.temperature)
    reach, value_reach = float(settings.clip_range), float(settings.value_clip_range)

    def sums(scorer: LabelScorer, batch: MicroBatch) -> Sums:
        assert isinstance(scorer, ActorCriticScorer)
        logprobs, values = scorer.logprobs(batch, temperature), scorer.values(batch)
        if batch.units == 0:
            return dict.fromkeys(_NAMES, (logprobs.sum() + values.sum()) * 0)
        advantage, goal = batch.facts[ADVANTAGE], batch.facts[RETURN]
        gap = logprobs - batch.facts[OLD]
        ratio = torch.exp(gap)
        clipped = ratio.clamp(1 - reach, 1 + reach) * advantage
        before = batch.facts[VALUE]
        near = before + (values - before).clamp(-value_reach, value_reach)
        plain_miss, near_miss = (values - goal).square(), (near - goal).square()
        return {
            POLICY: -torch.minimum(ratio * advantage, clipped).sum(),
            VALUE_LOSS: 0.5 * torch.maximum(plain_miss, near_miss).sum(),
            CLIPPED: (clipped < ratio * advantage).float().sum(),
            VALUE_CLIPPED: (near_miss > plain_miss).float().sum(),
            MOVED: 0.5 * gap.detach().square().sum(),
        }

    def counts(batch: MicroBatch) -> Counts:
        return dict.fromkeys(_NAMES, batch.labels)

    weights = {POLICY: 1.0, VALUE_LOSS: float(settings.value_coefficient)}
    return Objective(sums, counts, weights, scorer=ActorCriticScorer)
