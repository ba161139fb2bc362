"""Settings that belong to one method."""

from enum import StrEnum
from functools import reduce
from operator import add
from typing import Annotated, ClassVar

from pydantic import Field

from finetune_api.fields import (
    RECIPE,
    ApiModel,
    DecimalBelowHalf,
    DecimalNonNegative,
    DecimalOpenShare,
    DecimalPositive,
    Rule,
)
from finetune_api.spec.data import RowFormat, RowSource


class ReplaySource(RowSource):
    """General text that is mixed in, against forgetting."""

    RULES: ClassVar[tuple[Rule, ...]] = (
        Rule(
            "!has(self.format) || self.format in ['Auto', 'Text']",
            "replay rows are documents: set format to Text or leave it out",
            lambda source: source.format in (RowFormat.AUTO, RowFormat.TEXT),
        ),
    )

    share: Annotated[DecimalOpenShare, RECIPE]
    """Share of an epoch's blocks that come from here, "0.1" for a tenth."""


MAX_REPLAY_SHARE = 0.95
"""Of all replay sources together; what is left belongs to the train sources."""


class Cpt(ApiModel):
    """Settings of continued pre-training."""

    RULES: ClassVar[tuple[Rule, ...]] = (
        Rule(
            f"self.replay.map(source, double(source.share)).sum() <= {MAX_REPLAY_SHARE}",
            f"the shares of replay may be {MAX_REPLAY_SHARE} together; the rest is data.train",
            lambda cpt: (
                reduce(add, (float(source.share) for source in cpt.replay)) <= MAX_REPLAY_SHARE
            ),
        ),
    )

    replay: Annotated[list[ReplaySource], RECIPE, Field(min_length=1, max_length=8)]
    """General text drawn beside the train sources; an epoch is once through the train sources."""


class DpoLoss(StrEnum):
    """Loss of a pair."""

    SIGMOID = "Sigmoid"
    IPO = "IPO"
    HINGE = "Hinge"


class Dpo(ApiModel):
    """Direct preference optimisation."""

    RULES: ClassVar[tuple[Rule, ...]] = (
        Rule(
            "!has(self.loss) || self.loss == 'Sigmoid' || !has(self.labelSmoothing)"
            " || double(self.labelSmoothing) == 0.0",
            "labelSmoothing belongs to the Sigmoid loss; remove it",
            lambda dpo: dpo.loss is DpoLoss.SIGMOID or float(dpo.label_smoothing) == 0,
        ),
    )

    beta: Annotated[DecimalPositive, RECIPE] = "0.1"
    """How strongly the model is held to the reference, the model that training starts from."""
    loss: Annotated[DpoLoss, RECIPE] = DpoLoss.SIGMOID
    """Sigmoid (DPO), IPO (over sums of log-probabilities, as in its paper) or Hinge (SLiC)."""
    label_smoothing: Annotated[DecimalBelowHalf, RECIPE] = "0"
    """Probability that a pair's labels are the wrong way round (Sigmoid)."""
    sft_weight: Annotated[DecimalNonNegative, RECIPE] = "0"
    """Weight of the chosen completions' cross entropy, added to the loss."""


class Kto(ApiModel):
    """Kahneman-Tversky optimisation."""

    beta: Annotated[DecimalPositive, RECIPE] = "0.1"
    """How strongly the model is held to the reference, the model that training starts from."""
    desirable_weight: Annotated[DecimalPositive | None, RECIPE] = None
    """Weight of desirable rows in the loss. When both weights are absent the rarer kind is weighted
    up until both kinds weigh alike; a weight that is absent beside the other is "1"."""
    undesirable_weight: Annotated[DecimalPositive | None, RECIPE] = None
    """Weight of undesirable rows in the loss."""


class Reward(ApiModel):
    """A reward model: the language model with a head that scores whole answers."""

    center_coefficient: Annotated[DecimalNonNegative, RECIPE] = "0.01"
    """Weight of the squared sum of a pair's two rewards, which keeps rewards about 0."""
    margin: Annotated[bool, RECIPE] = False
    """The better answer must win by the difference of the scores (Ranking rows)."""


class Orpo(ApiModel):
    """Odds-ratio preference optimisation."""

    beta: Annotated[DecimalPositive, RECIPE] = "0.1"
    """Weight of the odds-ratio term beside the cross entropy of the chosen side."""
