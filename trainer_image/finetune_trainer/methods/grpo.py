"""Group relative policy optimisation: an answer is measured against others to its prompt.

With G answers to a prompt and their rewards r, the advantage of answer i (Shao et al. 2024,
2402.03300, section 4.1.2; without the division Liu et al. 2025, 2503.20783)

    A_i = (r_i - mean(r)) / (std(r) + 1e-4)

and, over the tokens t of answers, with the ratio p = pi(t) / pi_old(t) and the reference q,

    token_t = -min(p A, clip(p, 1 - low, 1 + high) A) + beta p (q / pi - log(q / pi) - 1)

The bracket is Schulman's estimate of the KL divergence; p makes its gradient that of the divergence
(DeepSeek-V3.2, 2512.02556, section 3.1). Tokens are averaged over each answer
and answers over the batch (Grpo), over answers times the longest possible answer (DrGrpo), or over
all tokens of the batch (Dapo: Yu et al. 2025, 2503.14476). Probabilities are those at the sampling
temperature.
"""

import numpy as np
import torch
from finetune_api.spec import Grpo, GrpoLoss

from finetune_trainer.arrays import Float32
from finetune_trainer.engine.batches import MicroBatch
from finetune_trainer.methods.objective import Counts, Objective, Sums
from finetune_trainer.methods.scorer import LabelScorer

POLICY, KL_TERM = "policyLoss", "klLoss"
KL, CLIPPED = "kl", "clipFraction"
ADVANTAGE, OLD, REFERENCE = "advantage", "old", "reference"
"""Facts of each label: its answer's advantage, and log-probabilities when it was drawn and under
the reference."""
_EPSILON = 1e-4


def advantages(rewards: Float32, generations: int, *, scale: bool) -> Float32:
    """[R] how much better each answer is than its group.

    Args:
        rewards: [R] of answers, those to one prompt next to each other.
    """
    groups = rewards.reshape(-1, generations).astype(np.float64)
    better = groups - groups.mean(axis=1, keepdims=True)
    if scale:
        better /= groups.std(axis=1, ddof=1, keepdims=True) + _EPSILON
    found: Float32 = better.astype(np.float32).ravel()
    return found


def flat_groups(rewards: Float32, generations: int) -> int:
    """Groups whose answers are all worth the same, from which nothing is learnt."""
    groups = rewards.reshape(-1, generations)
    return int((groups == groups[:, :1]).all(axis=1).sum())


def objective(settings: Grpo) -> Objective:
    """What training minimises, under resolved settings."""
    temperature, beta = float(settings.temperature), float(settings.beta)
    low, high = 1 - float(settings.clip_low), 1 + float(settings.clip_high)
    names = (POLICY, KL_TERM, KL, CLIPPED) if beta else (POLICY, CLIPPED)

    def sums(scorer: LabelScorer, batch: MicroBatch) -> Sums:
        logprobs = scorer.logprobs(batch, temperature)
        if batch.units == 0:
            return dict.fromkeys(names, logprobs.sum() * 0)
        advantage = batch.facts[ADVANTAGE]
        old = batch.facts.get(OLD)
        ratio = torch.exp(logprobs - (logprobs.detach() if old is None else old))
        clipped = ratio.clamp(low, high)
        weights = _weights(settings.loss_type, batch)
        found = {
            POLICY: -(torch.minimum(ratio * advantage, clipped * advantage) * weights).sum(),
            CLIPPED: (clipped * advantage < ratio * advantage).float().sum(),
        }
        if beta:
            gap = batch.facts[REFERENCE] - logprobs
            divergence = ratio * (torch.exp(gap) - gap - 1)
            found[KL_TERM] = (divergence * weights).sum()
            found[KL] = divergence.detach().sum()
        return found

    def counts(batch: MicroBatch) -> Counts:
        averaged = {
            GrpoLoss.GRPO: batch.rows,
            GrpoLoss.DR_GRPO: batch.rows * settings.max_new_tokens,
            GrpoLoss.DAPO: batch.labels,
        }[settings.loss_type]
        told = {POLICY: averaged, KL_TERM: averaged, KL: batch.labels, CLIPPED: batch.labels}
        return {name: told[name] for name in names}

    return Objective(sums, counts, {POLICY: 1.0, KL_TERM: beta} if beta else {POLICY: 1.0})


def _weights(loss: GrpoLoss, batch: MicroBatch) -> torch.Tensor:
    """[L] weight of each token in the sums."""
    if loss is not GrpoLoss.GRPO:
        return torch.ones_like(batch.label_rows, dtype=torch.float32)
    sizes = torch.bincount(batch.label_rows, minlength=batch.rows)
    return 1 / sizes[batch.label_rows].float()
