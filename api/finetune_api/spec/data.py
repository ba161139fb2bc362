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
    LanguageCode,
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
    DOCUMENT = "Document"
    PROMPT_COMPLETION = "PromptCompletion"
    INSTRUCTION = "Instruction"
    MESSAGES = "Messages"
    PREFERENCE = "Preference"
    FEEDBACK = "Feedback"
    RANKING = "Ranking"
    PROMPT = "Prompt"


FORMATS_OF: dict[Method, tuple[RowFormat, ...]] = {
    Method.CPT: (RowFormat.TEXT, RowFormat.DOCUMENT),
    Method.SFT: (RowFormat.MESSAGES, RowFormat.INSTRUCTION, RowFormat.PROMPT_COMPLETION),
    Method.REWARD: (RowFormat.PREFERENCE, RowFormat.RANKING),
    Method.DPO: (RowFormat.PREFERENCE, RowFormat.RANKING),
    Method.KTO: (RowFormat.FEEDBACK, RowFormat.PREFERENCE),
    Method.ORPO: (RowFormat.PREFERENCE, RowFormat.RANKING),
    Method.PPO: (RowFormat.PROMPT,),
    Method.GRPO: (RowFormat.PROMPT,),
}
"""Shapes of rows that each method trains on."""


class RowSource(ApiModel):
    """Rows or documents in one object, or in all objects of a folder or a pattern."""

    CLUSTER_RULES: ClassVar[tuple[Rule, ...]] = (URI_IS_S3,)

    uri: Annotated[Uri, RECIPE]
    """An object; a folder with all that is below it; or a pattern, in which * stands for anything
    but a slash and ** for folders too. Rows: JSON lines, a JSON array, CSV, TSV or Parquet.
    Documents: PDF, DOCX, HTML, Markdown, plain text. Any of them compressed as .gz or .zst."""
    format: Annotated[RowFormat, RECIPE] = RowFormat.AUTO
    """Text (CPT): a column text. Document (CPT): each file is a document. Instruction (SFT):
    instruction, context, response (dolly, alpaca). PromptCompletion (SFT): the texts prompt and
    completion, a user's turn and its answer. Messages (SFT): a list of turns (role and content, or
    ShareGPT's from and value). Preference (DPO, ORPO, Reward, KTO): chosen and rejected after a
    prompt, or two conversations that begin alike. Feedback (KTO): a prompt and a completion, or
    messages, with a label, true for a desirable answer. Ranking (Reward, DPO, ORPO): responses to a
    prompt, with their scores. Prompt (PPO, GRPO): a prompt, or messages that end with a user's
    turn, and perhaps the right answer. Auto looks at the files and their rows."""
    fields: Annotated[dict[str, ShortText] | None, RECIPE, Field(max_length=16)] = None
    """Column map: our name (text, instruction, context, response, messages, prompt, completion,
    chosen, rejected, label, responses, scores, answer, system, tools) to the column."""
    template: Annotated[LongText | None, RECIPE] = None
    """Jinja template: of the user's turn of Instruction rows, over instruction and context; of the
    document of Text rows, over text and the row's other columns; of a Document, over text, title
    and source."""
    license: ShortText | None = None
    """SPDX name or expression of the rows' licence; for the licence check and the model card."""


class DataSource(RowSource):
    """Rows to train on or to measure on."""

    weight: Annotated[DecimalPositive | None, RECIPE] = None
    """With mixing Interleave, this source's part of what is drawn, relative to the other weights;
    "1" when absent."""


class TextSource(ApiModel):
    """Texts that are measured against."""

    CLUSTER_RULES: ClassVar[tuple[Rule, ...]] = (URI_IS_S3,)

    uri: Uri
    """Object, folder or pattern of rows with a column text, or of documents."""


class CheckMode(StrEnum):
    """What happens to rows in which a check finds something."""

    OFF = "Off"
    REPORT = "Report"
    DROP_ROWS = "DropRows"
    FAIL = "Fail"


class PersonalDataMode(StrEnum):
    """The same, or placeholders in place of what is found."""

    OFF = "Off"
    REPORT = "Report"
    REDACT = "Redact"
    DROP_ROWS = "DropRows"
    FAIL = "Fail"


class LicenseMode(StrEnum):
    """A licence is that of a whole source, so no rows are dropped for it."""

    OFF = "Off"
    REPORT = "Report"
    FAIL = "Fail"


class TooLongMode(StrEnum):
    """Rows that are too long cannot be trained on."""

    DROP_ROWS = "DropRows"
    FAIL = "Fail"


class DataChecks(ApiModel):
    """What is looked for in rows, and what happens then. Off does not look; Report tells; DropRows
    leaves the rows out and tells; Fail ends the job. Nothing that is found is ever printed."""

    personal_data: Annotated[PersonalDataMode, RECIPE] = PersonalDataMode.REPORT
    """Addresses, telephone numbers, card and account numbers and the like. Redact puts the same
    placeholder in place of the same value, numbered within a row or document."""
    secrets: Annotated[CheckMode, RECIPE] = CheckMode.FAIL
    """Keys, tokens and passwords."""
    duplicates: Annotated[CheckMode, RECIPE] = CheckMode.REPORT
    """Rows whose prompt and answer both nearly equal those of an earlier row."""
    leakage: Annotated[CheckMode, RECIPE] = CheckMode.FAIL
    """Training rows that hold evaluation rows, or large parts of them."""
    contradictions: Annotated[CheckMode, RECIPE] = CheckMode.REPORT
    """Rows that answer one prompt differently, or judge the same answers differently."""
    language: Annotated[CheckMode, RECIPE] = CheckMode.REPORT
    """Rows of another language than `languages`, or where these are absent than most rows."""
    quality: Annotated[CheckMode, RECIPE] = CheckMode.REPORT
    """Rows that look damaged: text that repeats itself, answers cut off, chosen and rejected
    nearly alike, lengths far from the others."""
    license: Annotated[LicenseMode, RECIPE] = LicenseMode.REPORT
    """Sources without a licence, or with one that forbids commerce or changes, or that binds the
    result otherwise than the model's licence."""
    too_long: Annotated[TooLongMode, RECIPE] = TooLongMode.DROP_ROWS
    """Rows longer than training.sequenceLength. Not for CPT, which cuts documents into blocks."""
    languages: Annotated[list[LanguageCode] | None, RECIPE, Field(min_length=1, max_length=32)] = (
        None
    )
    """ISO 639-1 codes of the languages that rows may have."""
    max_invalid_rows: Annotated[int, RECIPE, Field(ge=0, le=1_000_000_000)] = 0
    """Rows or files that may be unreadable, empty or lack a field; more than these fail the job."""
    max_too_long_share: Annotated[DecimalShare | None, RECIPE] = None
    """Share of rows that may be longer than training.sequenceLength, "0.05" when absent; they are
    dropped. Not for CPT, which cuts documents into blocks."""

    # The API server holds the empty default of this block to the rules before it fills it in.
    RULES: ClassVar[tuple[Rule, ...]] = (
        Rule(
            "!has(self.language) || self.language in ['Off', 'Report'] || has(self.languages)",
            "say which languages rows may have: set languages, for example [en]",
            lambda checks: (
                checks.language in (CheckMode.OFF, CheckMode.REPORT) or checks.languages is not None
            ),
        ),
        Rule(
            "!has(self.language) || self.language != 'Off' || !has(self.languages)",
            "with language Off no language is looked at: remove languages",
            lambda checks: checks.language is not CheckMode.OFF or checks.languages is None,
        ),
        Rule(
            "!has(self.tooLong) || self.tooLong != 'Fail' || !has(self.maxTooLongShare)",
            "with tooLong Fail no row may be too long: remove maxTooLongShare",
            lambda checks: (
                checks.too_long is not TooLongMode.FAIL or checks.max_too_long_share is None
            ),
        ),
    )


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
    group_by: Annotated[ShortText | None, RECIPE] = None
    """Column of rows that stay on one side when some are held out, such as a document or a
    customer; the prompt when absent."""
    domain_text: Annotated[list[TextSource] | None, Field(min_length=1, max_length=8)] = None
    """Text that the report measures the relevance of training rows against; the evaluation rows
    when absent. Nothing of it is trained on."""
    mixing: Annotated[Mixing, RECIPE] = Mixing.CONCAT
    """Concat reads each train source once an epoch. Interleave draws rows, pairs or blocks by the
    sources' weights; a source that an epoch reads in part or more than once goes on where the
    epoch before stopped, so that all of it comes equally often."""
    mixing_stop: Annotated[MixingStop | None, RECIPE] = None
    """FirstExhausted (when absent) ends an interleaved epoch when a source was read whole,
    AllExhausted when all were."""
    checks: DataChecks = Field(default_factory=DataChecks)
    """What is looked for in rows, and how many bad ones are allowed."""

    RULES: ClassVar[tuple[Rule, ...]] = (
        Rule(
            "!(has(self.evaluation) && has(self.evaluationFraction))",
            "give evaluation rows or evaluationFraction, not both",
            lambda data: data.evaluation is None or data.evaluation_fraction is None,
        ),
        Rule(
            "!(has(self.evaluation) && has(self.groupBy))",
            "groupBy decides which rows are held out, and evaluation names them: remove one",
            lambda data: data.evaluation is None or data.group_by is None,
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
