"""Direct preference optimisation: pairs of a chosen and a rejected completion of one prompt.

With the policy pi, the reference model r, a prompt x and completions w (chosen) and l (rejected),

    delta = log pi(w|x) - log r(w|x) - log pi(l|x) + log r(l|x)

where log pi(y|x) is the sum over the completion's label tokens.

- Sigmoid: -(1 - e) log s(beta delta) - e log s(-beta delta), with label smoothing e.
  Rafailov et al. 2023 (2305.18290), equation 7; e from Mitchell 2023, "cDPO", equation 3.
- IPO: (delta - 1 / (2 beta))^2, over sums as in Azar et al. 2023 (2310.12036), equation 17; TRL
  divides log-probabilities by the completions' lengths instead.
- Hinge: max(0, 1 - beta delta). Zhao et al. 2023 (2305.10425), equation 1 with the reference.

`sftWeight` adds the cross entropy of the chosen completions (Pang et al. 2024, 2404.19733), the
mean over their label tokens.
"""

from collections.abc import Callable
from types import MappingProxyType

import torch
from finetune_api.spec import Dpo, DpoLoss
from torch.nn import functional

from finetune_trainer.engine.batches import MicroBatch
from finetune_trainer.methods.objective import Counts, Objective, Sums
from finetune_trainer.methods.ranking import ACCURACY, chosen_labels
from finetune_trainer.methods.scorer import LabelScorer
from finetune_trainer.methods.sft import CROSS_ENTROPY

PREFERENCE = "preferenceLoss"
MARGIN = "margin"
CHOSEN, REJECTED = "chosenReward", "rejectedReward"
_OF_PAIRS = (PREFERENCE, ACCURACY, MARGIN, CHOSEN, REJECTED)


def objective(settings: Dpo) -> Objective:
    """What training minimises, under resolved settings."""
    beta = float(settings.beta)
    loss_of = _loss(settings, beta)

    def sums(scorer: LabelScorer, batch: MicroBatch) -> Sums:
        logprobs = scorer.row_logprobs(batch)
        if batch.units == 0:
            return dict.fromkeys((*_OF_PAIRS, CROSS_ENTROPY), logprobs.sum())
        assert batch.reference is not None, "the reference pass comes first"
        rewards = beta * (logprobs - batch.reference).view(-1, 2)
        margins = rewards[:, 0] - rewards[:, 1]
        told = rewards.detach()
        return {
            PREFERENCE: loss_of(margins).sum(),
            ACCURACY: (told[:, 0] > told[:, 1]).float().sum(),
            MARGIN: margins.detach().sum(),
            CHOSEN: told[:, 0].sum(),
            REJECTED: told[:, 1].sum(),
            CROSS_ENTROPY: -logprobs.view(-1, 2)[:, 0].sum(),
        }

    def counts(batch: MicroBatch) -> Counts:
        return {**dict.fromkeys(_OF_PAIRS, batch.units), CROSS_ENTROPY: chosen_labels(batch)}

    weights = {PREFERENCE: 1.0, CROSS_ENTROPY: float(settings.sft_weight)}
    minimised = MappingProxyType({name: weight for name, weight in weights.items() if weight})
    return Objective(sums, counts, minimised, needs_reference=True)


def _loss(settings: Dpo, beta: float) -> Callable[[torch.Tensor], torch.Tensor]:
    """Loss of each pair from its margin beta * delta: float32 [P] -> float32 [P]."""
    smoothing = float(settings.label_smoothing)
    match settings.loss:
        case DpoLoss.SIGMOID:
            return lambda margins: (
                -(1 - smoothing) * functional.logsigmoid(margins)
                - smoothing * functional.logsigmoid(-margins)
            )
        case DpoLoss.IPO:
            return lambda margins: (margins / beta - 1 / (2 * beta)) ** 2
        case DpoLoss.HINGE:
            return lambda margins: functional.relu(1 - margins)
