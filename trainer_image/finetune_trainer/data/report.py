"""The data report: what came in, what goes to training, and how the model sees it."""

from typing import Annotated

import numpy as np
from finetune_api.fields import ApiModel
from finetune_api.status import RowError
from pydantic import Field

from finetune_trainer.data.chat import Chat
from finetune_trainer.data.findings import Findings
from finetune_trainer.prepared import PreparedSplit, SourceInfo

REPORT_FILE = "report.json"
SAMPLES_SHOWN = 3


class LengthBin(ApiModel):
    """Rows of similar length."""

    up_to: int
    """Tokens of the longest row in the bin, at most; bins double."""
    rows: int


class ShownRow(ApiModel):
    """A training row as the model sees it."""

    where: str
    """ADDRESS:ROW."""
    text: str
    """All tokens, decoded."""
    learnt: list[str]
    """The label spans, decoded."""
    tokens: int
    label_tokens: int


class DataReport(ApiModel):
    """report.json."""

    version: int = 1
    problem: str | None = None
    """Why the data was refused."""
    sources: list[SourceInfo]
    rows: int
    """Rows read."""
    training_rows: int = 0
    evaluation_rows: int = 0
    training_tokens: int = 0
    label_tokens: int = 0
    """Of the training rows."""
    invalid: dict[str, int]
    """Rows left out as invalid, by kind."""
    too_long: int
    """Rows left out as longer than training.sequenceLength."""
    longest: int
    """Tokens of the longest row that was read."""
    lengths: list[LengthBin] = Field(default_factory=list)
    """Histogram of the training rows' tokens."""
    first_errors: list[RowError] | None = None
    warnings: Annotated[list[str], Field(max_length=16)] = Field(default_factory=list)
    samples: list[ShownRow] = Field(default_factory=list)
    """The first training rows."""


def refused_report(findings: Findings, sources: list[SourceInfo], problem: str) -> DataReport:
    """The report on data that training may not have."""
    return DataReport(
        problem=problem,
        sources=sources,
        rows=findings.rows,
        invalid=dict(findings.faults),
        too_long=findings.too_long,
        longest=findings.longest,
        first_errors=(findings.errors or findings.too_long_rows) or None,
    )


def accepted_report(
    findings: Findings,
    sources: list[SourceInfo],
    train: PreparedSplit,
    evaluation: PreparedSplit,
    chat: Chat,
) -> DataReport:
    """The report on data that goes to training."""
    return DataReport(
        sources=sources,
        rows=findings.rows,
        training_rows=len(train),
        evaluation_rows=len(evaluation),
        training_tokens=len(train.tokens),
        label_tokens=int(train.label_counts.sum()),
        invalid=dict(findings.faults),
        too_long=findings.too_long,
        longest=findings.longest,
        lengths=length_histogram(train),
        first_errors=findings.errors or None,
        warnings=_warnings(findings, train, evaluation, chat),
        samples=[_shown(train, i, sources, chat) for i in range(min(SAMPLES_SHOWN, len(train)))],
    )


def length_histogram(split: PreparedSplit) -> list[LengthBin]:
    """Rows by length in bins that double: up to 16, 32, 64 tokens and so on."""
    if not len(split):
        return []
    powers = np.maximum(4, np.ceil(np.log2(split.lengths))).astype(np.int64)
    values, counts = np.unique(powers, return_counts=True)
    return [
        LengthBin(up_to=2 ** int(power), rows=int(count))
        for power, count in zip(values, counts, strict=True)
    ]


def _warnings(
    findings: Findings, train: PreparedSplit, evaluation: PreparedSplit, chat: Chat
) -> list[str]:
    warnings = []
    if chat.published_template is not None:
        warnings.append("the tokenizer has no chat template; a plain one is used and published")
    if findings.special_text:
        warnings.append(
            f"{findings.special_text} rows spell a special token in their text, which the model "
            f"reads as that token; the first is {findings.special_rows[0]}"
        )
    shared = int(np.isin(train.group_ids, evaluation.group_ids).sum())
    if shared:
        warnings.append(f"{shared} training rows have the prompt of an evaluation row")
    if not len(evaluation):
        warnings.append("no row is held out: there are too few rows to measure the result on")
    if not _ends_with_special(train, chat):
        warnings.append(
            "answers do not end with a special token, so the model does not learn when to stop"
        )
    return warnings


def _ends_with_special(split: PreparedSplit, chat: Chat) -> bool:
    tokens, spans = split.row(0)
    return int(tokens[spans[-1, 1] - 1]) in chat.special_ids


def _shown(split: PreparedSplit, index: int, sources: list[SourceInfo], chat: Chat) -> ShownRow:
    tokens, spans = split.row(index)
    uri = sources[int(split.source_files[index])].uri
    return ShownRow(
        where=f"{uri}:{int(split.source_rows[index])}",
        text=chat.decode(tokens.tolist()),
        learnt=[chat.decode(tokens[start:end].tolist()) for start, end in spans],
        tokens=len(tokens),
        label_tokens=int(split.label_counts[index]),
    )
