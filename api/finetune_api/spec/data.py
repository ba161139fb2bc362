"""Rows to train on and rows to measure on."""

from collections.abc import Sequence
from enum import StrEnum
from typing import Annotated, ClassVar

from pydantic import Field

from finetune_api.fields import (
    RECIPE,
    ApiModel,
    DecimalOpenShare,
    DecimalPositive,
    DecimalShare,
    LongText,
    Rule,
    ShortText,
)
from finetune_api.spec.addresses import URI_IS_S3, Uri
from finetune_api.spec.method import Method


class RowFormat(StrEnum):
    """Shape of a source's rows."""

    AUTO = "Auto"
    TEXT = "Text"
    PROMPT_COMPLETION = "PromptCompletion"
    INSTRUCTION = "Instruction"
    MESSAGES = "Messages"
    PREFERENCE = "Preference"
    FEEDBACK = "Feedback"
    RANKING = "Ranking"
    PROMPT = "Prompt"


FORMATS_OF: dict[Method, tuple[RowFormat, ...]] = {
    Method.CPT: (RowFormat.TEXT,),
    Method.SFT: (RowFormat.MESSAGES, RowFormat.INSTRUCTION, RowFormat.PROMPT_COMPLETION),
    Method.REWARD: (RowFormat.PREFERENCE, RowFormat.RANKING),
    Method.DPO: (RowFormat.PREFERENCE,),
    Method.KTO: (RowFormat.FEEDBACK,),
    Method.ORPO: (RowFormat.PREFERENCE,),
    Method.PPO: (RowFormat.PROMPT,),
    Method.GRPO: (RowFormat.PROMPT,),
}
"""Shapes of rows that each method trains on."""


class RowSource(ApiModel):
    """Rows in one JSON or JSONL object."""

    CLUSTER_RULES: ClassVar[tuple[Rule, ...]] = (URI_IS_S3,)

    uri: Annotated[Uri, RECIPE]
    """Object of JSON lines, or one JSON array of rows."""
    format: Annotated[RowFormat, RECIPE] = RowFormat.AUTO
    """Text (CPT): a column text. Instruction (SFT): instruction, context, response (dolly,
    alpaca). PromptCompletion (SFT): the texts prompt and completion, a user's turn and its answer.
    Messages (SFT): a list of turns (role and content, or ShareGPT's from and value). Preference
    (DPO, ORPO, Reward): chosen and rejected after a prompt, or two conversations that begin alike.
    Feedback (KTO): a prompt and a completion, or messages, with a label, true for a desirable
    answer. Ranking (Reward): responses to a prompt, with their scores. Prompt (PPO, GRPO): a
    prompt, or messages that end with a user's turn, and perhaps the right answer. Auto looks at the
    rows."""
    fields: Annotated[dict[str, ShortText] | None, RECIPE, Field(max_length=16)] = None
    """Column map: our name (text, instruction, context, response, messages, prompt, completion,
    chosen, rejected, label, responses, scores, answer, system, tools) to the column."""
    template: Annotated[LongText | None, RECIPE] = None
    """Jinja template: of the user's turn of Instruction rows, over instruction and context; of the
    document of Text rows, over text and the row's other columns."""
    license: ShortText | None = None
    """SPDX name of the rows' licence, for the model card."""


class DataSource(RowSource):
    """Rows to train on or to measure on."""

    weight: Annotated[DecimalPositive | None, RECIPE] = None
    """With mixing Interleave, this source's part of what is drawn, relative to the other weights;
    "1" when absent."""


class DataChecks(ApiModel):
    """How many bad rows a job may drop before it is refused."""

    max_invalid_rows: Annotated[int, RECIPE, Field(ge=0, le=1_000_000_000)] = 0
    """Rows that may be unparsable, empty or lack a field; more than these fail the job."""
    max_too_long_share: Annotated[DecimalShare | None, RECIPE] = None
    """Share of rows that may be longer than training.sequenceLength, "0.05" when absent; they are
    dropped. Not for CPT, which cuts documents into blocks."""


class Mixing(StrEnum):
    """How several train sources are drawn from."""

    CONCAT = "Concat"
    INTERLEAVE = "Interleave"


class MixingStop(StrEnum):
    """When an interleaved epoch ends."""

    FIRST_EXHAUSTED = "FirstExhausted"
    ALL_EXHAUSTED = "AllExhausted"


def _weighted(sources: Sequence[DataSource] | None) -> bool:
    return any(source.weight is not None for source in sources or ())


class Data(ApiModel):
    """Rows to train on and rows to measure on."""

    train: Annotated[list[DataSource], RECIPE, Field(min_length=1, max_length=32)]
    """Sources of training rows."""
    evaluation: Annotated[list[DataSource] | None, RECIPE, Field(min_length=1, max_length=32)] = (
        None
    )
    """Held-out rows; when absent a share of the training rows is held out."""
    evaluation_fraction: Annotated[DecimalOpenShare | None, RECIPE] = None
    """Share of training rows (documents for CPT) held out when evaluation is absent."""
    mixing: Annotated[Mixing, RECIPE] = Mixing.CONCAT
    """Concat reads each train source once an epoch. Interleave draws rows, pairs or blocks by the
    sources' weights; a source that an epoch reads in part or more than once goes on where the
    epoch before stopped, so that all of it comes equally often."""
    mixing_stop: Annotated[MixingStop | None, RECIPE] = None
    """FirstExhausted (when absent) ends an interleaved epoch when a source was read whole,
    AllExhausted when all were."""
    checks: DataChecks = Field(default_factory=DataChecks)
    """Limits on bad rows."""

    RULES: ClassVar[tuple[Rule, ...]] = (
        Rule(
            "!(has(self.evaluation) && has(self.evaluationFraction))",
            "give evaluation rows or evaluationFraction, not both",
            lambda data: data.evaluation is None or data.evaluation_fraction is None,
        ),
        Rule(
            "self.mixing == 'Interleave' || self.train.all(source, !has(source.weight))",
            "mixing Concat reads every source once: remove weight, or set mixing to Interleave",
            lambda data: data.mixing is Mixing.INTERLEAVE or not _weighted(data.train),
        ),
        Rule(
            "!has(self.evaluation) || self.evaluation.all(source, !has(source.weight))",
            "evaluation rows are all read: remove their weight",
            lambda data: not _weighted(data.evaluation),
        ),
        Rule(
            "self.mixing == 'Interleave' || !has(self.mixingStop)",
            "mixingStop says when an interleaved epoch ends: remove it, or set mixing to "
            "Interleave",
            lambda data: data.mixing is Mixing.INTERLEAVE or data.mixing_stop is None,
        ),
    )
