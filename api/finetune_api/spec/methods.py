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
    DecimalPositiveShare,
    DecimalShare,
    LongText,
    Rule,
)
from finetune_api.spec.data import RowFormat, RowSource


class ReplaySource(RowSource):
    """General text that is mixed in, against forgetting."""

    RULES: ClassVar[tuple[Rule, ...]] = (
        Rule(
            "!has(self.format) || self.format in ['Auto', 'Text', 'Document']",
            "replay rows are documents: set format to Text or Document, or leave it out",
            lambda source: source.format in (RowFormat.AUTO, RowFormat.TEXT, RowFormat.DOCUMENT),
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


class KlController(StrEnum):
    """What becomes of the weight of the KL penalty."""

    FIXED = "Fixed"
    ADAPTIVE = "Adaptive"


class Ppo(ApiModel):
    """Proximal policy optimisation against a reward model."""

    RULES: ClassVar[tuple[Rule, ...]] = (
        Rule(
            "!has(self.klTarget) || (has(self.klController) && self.klController == 'Adaptive')",
            "klTarget steers the Adaptive controller: set klController to Adaptive, or remove it",
            lambda ppo: ppo.kl_target is None or ppo.kl_controller is KlController.ADAPTIVE,
        ),
    )

    kl_coefficient: Annotated[DecimalNonNegative, RECIPE] = "0.05"
    """Weight of the KL penalty, by which each token's reward falls as the model leaves the one that
    training starts from; with the Adaptive controller its first value."""
    kl_controller: Annotated[KlController, RECIPE] = KlController.FIXED
    """Fixed, or Adaptive: the weight rises and falls until the KL divergence is klTarget."""
    kl_target: Annotated[DecimalPositive | None, RECIPE] = None
    """KL divergence of an answer, in nats, that the Adaptive controller aims at; "6" when
    absent."""
    clip_range: Annotated[DecimalPositiveShare, RECIPE] = "0.2"
    """How far the ratio of new to old probability counts from 1."""
    value_clip_range: Annotated[DecimalPositive, RECIPE] = "0.2"
    """How far a value may move from what it was when the answer was written."""
    value_coefficient: Annotated[DecimalPositive, RECIPE] = "0.1"
    """Weight of the value loss beside the policy's."""
    gamma: Annotated[DecimalPositiveShare, RECIPE] = "1"
    """Discount of rewards for each token that they are away."""
    lambda_: Annotated[DecimalShare, RECIPE] = "0.95"
    """Of generalised advantage estimation: "0" trusts the values, "1" the rewards."""
    epochs_per_batch: Annotated[int, RECIPE, Field(ge=1, le=64)] = 4
    """Passes over each batch of answers."""
    minibatches: Annotated[int, RECIPE, Field(ge=1, le=1024)] = 1
    """Optimizer updates in one pass, each on its share of the answers."""
    max_new_tokens: Annotated[int, RECIPE, Field(ge=1, le=131_072)]
    """Longest answer in tokens; longer ones are cut."""
    temperature: Annotated[DecimalPositive, RECIPE] = "1"
    """Temperature that answers are drawn at."""
    top_p: Annotated[DecimalPositiveShare, RECIPE] = "1"
    """Answers are drawn from the likeliest tokens of this total probability."""
    missing_eos_penalty: Annotated[DecimalNonNegative, RECIPE] = "1"
    """Taken from the score of an answer that was cut, in standard deviations of the reward
    model."""
    whiten_rewards: Annotated[bool, RECIPE] = False
    """Divide each batch's rewards by their standard deviation."""


class GrpoLoss(StrEnum):
    """How the tokens of a batch of answers are averaged."""

    GRPO = "Grpo"
    DR_GRPO = "DrGrpo"
    DAPO = "Dapo"


class RewardFunctionType(StrEnum):
    """What a reward function looks at."""

    REGEX = "Regex"
    EXACT_ANSWER = "ExactAnswer"
    LENGTH = "Length"
    JSON_VALID = "JsonValid"


class RewardFunction(ApiModel):
    """A rule that scores an answer from 0 to 1."""

    RULES: ClassVar[tuple[Rule, ...]] = (
        Rule(
            "self.type != 'Regex' || has(self.pattern)",
            "type Regex needs a pattern",
            lambda function: (
                function.type is not RewardFunctionType.REGEX or function.pattern is not None
            ),
        ),
        Rule(
            "self.type in ['Regex', 'ExactAnswer'] || !has(self.pattern)",
            "pattern belongs to the types Regex and ExactAnswer: remove it",
            lambda function: (
                function.type in (RewardFunctionType.REGEX, RewardFunctionType.EXACT_ANSWER)
                or function.pattern is None
            ),
        ),
        Rule(
            "(self.type == 'Length') == has(self.maxTokens)",
            "type Length needs maxTokens, and no other type has it",
            lambda function: (
                (function.type is RewardFunctionType.LENGTH) == (function.max_tokens is not None)
            ),
        ),
    )

    type: Annotated[RewardFunctionType, RECIPE]
    """Regex: 1 where pattern is found in the answer, else 0. ExactAnswer: 1 where the answer is
    that of the row (its field answer), white space around both apart, else 0. Length: 1 up to
    maxTokens, falling to 0 at twice as many. JsonValid: 1 for an answer that is one JSON value,
    alone or in a fenced code block, else 0."""
    weight: Annotated[DecimalPositive | None, RECIPE] = None
    """What the score is multiplied by before all are added up; "1" when absent."""
    pattern: Annotated[LongText | None, RECIPE] = None
    """Regular expression as in Python. Regex looks for it; ExactAnswer takes its first group, in
    its last match, for the answer, and nothing where it does not match."""
    max_tokens: Annotated[int | None, RECIPE, Field(ge=1, le=1_048_576)] = None
    """Tokens of an answer that are not too many (Length)."""


class Grpo(ApiModel):
    """Group relative policy optimisation."""

    generations: Annotated[int, RECIPE, Field(ge=2, le=256)] = 8
    """Answers written to each prompt; each is measured against the others."""
    loss_type: Annotated[GrpoLoss, RECIPE] = GrpoLoss.GRPO
    """Grpo: the mean over answers of the mean over their tokens. DrGrpo: the sum over tokens
    divided by answers times maxNewTokens. Dapo: the mean over all tokens of the batch."""
    beta: Annotated[DecimalNonNegative, RECIPE] = "0.04"
    """Weight of the KL divergence from the model that training starts from; "0": none."""
    scale_rewards: Annotated[bool, RECIPE] = True
    """Divide what an answer is better than its group's mean by the group's standard deviation."""
    iterations: Annotated[int, RECIPE, Field(ge=1, le=64)] = 1
    """Optimizer updates on each batch of answers."""
    clip_low: Annotated[DecimalPositiveShare, RECIPE] = "0.2"
    """The ratio of new to old probability counts down to 1 less this."""
    clip_high: Annotated[DecimalPositive, RECIPE] = "0.2"
    """The ratio counts up to 1 plus this."""
    max_new_tokens: Annotated[int, RECIPE, Field(ge=1, le=131_072)]
    """Longest answer in tokens; longer ones are cut."""
    temperature: Annotated[DecimalPositive, RECIPE] = "1"
    """Temperature that answers are drawn at."""
    top_p: Annotated[DecimalPositiveShare, RECIPE] = "1"
    """Answers are drawn from the likeliest tokens of this total probability."""
    reward_functions: Annotated[
        list[RewardFunction] | None, RECIPE, Field(min_length=1, max_length=16)
    ] = None
    """Rules that score answers, beside or in place of a reward model; scores are added up."""
