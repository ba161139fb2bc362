"""The data report: what came in, what goes to training, and how the model sees it."""

from itertools import pairwise
from typing import Annotated

import numpy as np
from finetune_api.errors import UserError
from finetune_api.fields import ApiModel
from finetune_api.spec import DataChecks, LossOn, Method
from finetune_api.status import RowError
from finetune_api.units import Unit
from pydantic import Field

from finetune_trainer.arrays import among
from finetune_trainer.data.rendering import Rendering
from finetune_trainer.preparation.findings import Check, Findings
from finetune_trainer.preparation.splits import Splits
from finetune_trainer.preparation.verdict import mode_of, told
from finetune_trainer.prepared import PreparedSplit, SourceInfo

SAMPLES_SHOWN = 5
TOKENS_SHOWN = 2000
"""Of a row, at most."""


class LengthBin(ApiModel):
    """Rows of similar length."""

    up_to: int
    """Tokens of the longest row in the bin, at most; bins double."""
    rows: int


class Segment(ApiModel):
    """Tokens that follow one another, decoded."""

    text: str
    learnt: bool
    """Whether they are labels."""


class ShownRow(ApiModel):
    """A row of tokens as the model sees it."""

    name: str | None = None
    """What it is in its unit, where that is not plain: chosen, rejected, desirable, undesirable, or
    the place and score of an answer in a ranking."""
    segments: list[Segment]
    """All tokens; a long row is cut, see `tokens`."""
    tokens: int
    label_tokens: int


class ShownUnit(ApiModel):
    """A row, pair, prompt or block that training reads as one."""

    where: str
    """ADDRESS:ROW of its first row."""
    tokens: int
    label_tokens: int
    pieces: int
    """Rows of tokens in it: 1, the 2 sides of a pair, or the pieces of documents in a block."""
    rows: list[ShownRow]
    """The row or prompt, both sides of a pair (chosen, rejected), or the first piece of a block."""
    answer: str | None = None
    """The right answer to a prompt, where the rows have answers."""


class CheckReport(ApiModel):
    """What a check found."""

    check: str
    """Its name in data.checks."""
    mode: str
    """What the job asks for."""
    rows: int
    """Rows, or sources for the licence, in which it found something."""
    kinds: dict[str, int]
    """How often each kind was found."""
    message: str
    """The same in a sentence, with what to do."""
    first: list[RowError]
    """The first rows; no value of a row is shown."""


class DataReport(ApiModel):
    """report.json."""

    version: int = 3
    problem: str | None = None
    """Why the data was refused."""
    unit: Unit
    """What the units below are."""
    sources: list[SourceInfo]
    rows: int
    """Rows read."""
    training_units: int = 0
    evaluation_units: int = 0
    training_tokens: int = 0
    label_tokens: int = 0
    """Of the training units."""
    invalid: dict[str, int]
    """Rows and files left out as invalid, by kind."""
    too_long: int
    """Rows left out as longer than training.sequenceLength, or prompts that leave no room in it for
    an answer of maxNewTokens."""
    dropped_units: int
    """Training units left out by checks."""
    longest: int
    """Tokens of the longest row, side of a pair or document that was read."""
    sequence_length: int
    """training.sequenceLength."""
    lengths: list[LengthBin] = Field(default_factory=list)
    """Histogram of the tokens of training rows, sides of pairs or pieces of documents."""
    first_errors: list[RowError] | None = None
    unreadable: list[RowError] = Field(default_factory=list)
    """Files of which all or the rest cannot be read, up to 1,000."""
    checks: list[CheckReport]
    """What the checks found, the gravest first."""
    checks_off: list[str]
    """Checks that the job turned off."""
    languages: dict[str, int]
    """Units by ISO 639 code of their language; und where it is not sure."""
    relevance: list[int]
    """Training units in ten bins, from far from the domain (0) to equal to a part of it (1)."""
    irrelevant: list[RowError]
    """The rows that are farthest from the domain."""
    notices: dict[str, int]
    """Copyright and confidentiality notices found in rows, by kind."""
    web_rules: dict[str, int]
    """Documents that break rules which corpora of web pages are filtered by; information only."""
    warnings: Annotated[list[str], Field(max_length=16)] = Field(default_factory=list)
    samples: list[ShownUnit] = Field(default_factory=list)
    """The first training units."""
    special_tokens: list[str] = Field(default_factory=list)
    """Those that stand in the samples."""


def make_report(
    findings: Findings,
    sources: list[SourceInfo],
    modes: DataChecks,
    rendering: Rendering,
    splits: Splits | None = None,
    problem: UserError | None = None,
) -> DataReport:
    """The report on data that training gets, or may not have, which `problem` says then.

    Args:
        splits: what was read; None where a source could not be read to its end.
    """
    shown = {}
    if splits is not None:
        train, evaluation = splits.train, splits.evaluation
        shown = {
            "training_units": train.units,
            "evaluation_units": evaluation.units,
            "training_tokens": len(train.tokens),
            "label_tokens": int(train.label_counts.sum()),
            "lengths": length_histogram(train),
            "warnings": _warnings(findings, train, evaluation, rendering) if train.units else [],
            "samples": [
                _shown(splits, unit, sources, rendering)
                for unit in range(min(SAMPLES_SHOWN, train.units))
            ],
            "special_tokens": _special_tokens(train, rendering),
        }
    return DataReport(
        problem=str(problem) if problem else None,
        unit=rendering.unit,
        sources=sources,
        rows=findings.rows,
        invalid=dict(findings.faults),
        too_long=findings.too_long,
        dropped_units=findings.dropped_units,
        longest=findings.longest,
        sequence_length=findings.limit.sequence_length,
        unreadable=findings.unreadable,
        first_errors=(findings.errors or findings.too_long_rows) or None,
        checks=_checks(modes, findings),
        checks_off=[check.value for check in Check if mode_of(modes, check) == "Off"],
        languages=dict(findings.languages.most_common()),
        relevance=findings.relevance,
        irrelevant=findings.irrelevant,
        notices=dict(findings.notices),
        web_rules=dict(findings.web_rules.most_common()),
        **shown,
    )


def _checks(modes: DataChecks, findings: Findings) -> list[CheckReport]:
    return [
        CheckReport(
            check=each.check,
            mode=each.mode,
            rows=each.rows,
            kinds=dict(findings.checks[Check(each.check)].kinds.most_common()),
            message=each.message,
            first=findings.checks[Check(each.check)].first,
        )
        for each in told(modes, findings)
    ]


def length_histogram(split: PreparedSplit) -> list[LengthBin]:
    """Rows by length in bins that double: up to 16, 32, 64 tokens and so on."""
    ends = 2 ** np.arange(4, 63)
    counts = np.bincount(np.searchsorted(ends, split.lengths), minlength=len(ends))
    return [
        LengthBin(up_to=end, rows=rows)
        for end, rows in zip(ends.tolist(), counts.tolist(), strict=True)
        if rows
    ]


def _warnings(
    findings: Findings, train: PreparedSplit, evaluation: PreparedSplit, rendering: Rendering
) -> list[str]:
    warnings = []
    if rendering.published_template is not None:
        warnings.append("the tokenizer has no chat template; a plain one is used and published")
    if findings.special_text:
        warnings.append(
            f"{findings.special_text} rows spell a special token in their text, which the model "
            f"reads as that token; the first is {findings.special_rows[0]}"
        )
    warnings += _shared(train, evaluation, rendering.unit)
    if findings.shared_passages:
        warnings.append(
            f"{findings.shared_passages} training {rendering.unit.plural} share 13 words in a row "
            "with an evaluation row"
        )
    if findings.held_out_alike:
        warnings.append(
            "the rows are so much alike that training rows give away most of what is held out: "
            "what is measured on it says little; name evaluation rows of another origin"
        )
    if not len(evaluation):
        warnings.append("no row is held out: there are too few rows to measure the result on")
    if not _ends_with_special(train, rendering):
        warnings.append(
            "answers do not end with a special token, so the model does not learn when to stop"
        )
    return warnings


def _shared(train: PreparedSplit, evaluation: PreparedSplit, unit: Unit) -> list[str]:
    """What training and evaluation have in common, in words."""
    if unit is Unit.BLOCK:
        given_away = among(train.group_ids, evaluation.group_ids)
        documents = len(np.unique(train.group_ids[given_away]))
        text = f"{documents} training documents are also evaluation documents"
        return [text] if documents else []
    groups = train.group_ids[train.unit_offsets[:-1]]
    shared = int(among(groups, evaluation.group_ids).sum())
    if unit is Unit.PROMPT:
        return [f"{shared} training prompts are also evaluation prompts"] if shared else []
    text = f"{shared} training {unit.plural} have the prompt of an evaluation {unit.value.lower()}"
    return [text] if shared else []


def _ends_with_special(split: PreparedSplit, rendering: Rendering) -> bool:
    """Whether the first answer does, where answers alone are learnt."""
    special = rendering.vocabulary.special_ids
    if rendering.unit in (Unit.BLOCK, Unit.PROMPT) or rendering.loss_on is LossOn.ALL:
        return True
    tokens, spans = split.row(0)
    return int(tokens[spans[-1, 1] - 1]) in special


def _shown(splits: Splits, unit: int, sources: list[SourceInfo], rendering: Rendering) -> ShownUnit:
    split = splits.train
    first, end = (int(offset) for offset in split.unit_offsets[unit : unit + 2])
    shown = 1 if rendering.unit is Unit.BLOCK else end - first
    values = split.row_values[first:end].tolist()
    source = sources[int(split.source_files[first])]
    uri, row = source.place(int(split.source_rows[first]))
    return ShownUnit(
        where=f"{uri}:{row}",
        tokens=int(split.unit_lengths[unit]),
        label_tokens=int(split.label_counts[first:end].sum()),
        pieces=end - first,
        rows=[
            _shown_row(split, first + place, rendering, name=_name(place, values, rendering))
            for place in range(shown)
        ],
        answer=splits.answers[0].mapped()[unit] if splits.answers else None,
    )


def _name(place: int, values: list[float], rendering: Rendering) -> str | None:
    """What row `place` is in a unit whose rows have `values`."""
    if rendering.method is Method.KTO:
        return "desirable" if values[place] else "undesirable"
    if rendering.unit is Unit.PAIR or (rendering.unit is Unit.COMPARISON and values == [1, 0]):
        return ("chosen", "rejected")[place]
    if rendering.unit is Unit.COMPARISON:
        return f"answer {place + 1} of {len(values)}, score {values[place]:g}"
    return None


def _special_tokens(split: PreparedSplit, rendering: Rendering) -> list[str]:
    """Texts of the special tokens in the first units."""
    end = int(split.row_offsets[split.unit_offsets[min(SAMPLES_SHOWN, split.units)]])
    texts = rendering.vocabulary.special_texts
    return [texts[token] for token in np.unique(split.tokens[:end]).tolist() if token in texts]


def _shown_row(
    split: PreparedSplit, index: int, rendering: Rendering, *, name: str | None
) -> ShownRow:
    decode = rendering.vocabulary.decode
    tokens, spans = split.row(index)
    cuts = [0, *np.minimum(spans.ravel(), TOKENS_SHOWN).tolist(), min(len(tokens), TOKENS_SHOWN)]
    parts = [
        Segment(text=decode(tokens[start:end].tolist()), learnt=bool(number % 2))
        for number, (start, end) in enumerate(pairwise(cuts))
        if start < end
    ]
    return ShownRow(
        name=name,
        segments=parts,
        tokens=len(tokens),
        label_tokens=int(split.label_counts[index]),
    )
