"""Counts as bars."""

from collections.abc import Mapping
from dataclasses import dataclass

from finetune_api.units import Unit

from finetune_trainer.preparation.page_words import (
    counted,
    fault_in_words,
    language_in_words,
    share,
)
from finetune_trainer.preparation.report import DataReport

MOST_BARS = 16
"""Of a chart that has an end nobody knows; the others are one bar."""
_LEAST_WIDTH = 0.4
"""Percent, so that one row in a million can be seen."""


@dataclass(frozen=True)
class Bar:
    """A count beside others."""

    name: str
    count: int
    share: str
    """Of all that the chart counts."""
    width: float
    """Percent of the chart."""
    start: float = 0.0
    """Percent of the chart before it, where bars stand in a line."""
    style: str = ""
    """Name of its colour."""
    note: str = ""


@dataclass(frozen=True)
class Part:
    """What became of some rows."""

    name: str
    count: int
    style: str


def flow(report: DataReport) -> list[Bar]:
    """What became of the rows read, in one line; empty where nothing was read."""
    parts = [part for part in _parts(report) if part.count]
    total = sum(part.count for part in parts)
    if not total:
        return []
    widths = [max(_LEAST_WIDTH, 100 * part.count / total) for part in parts]
    scale = 100 / sum(widths)
    bars, start = [], 0.0
    for part, width in zip(parts, widths, strict=True):
        bars.append(
            Bar(
                name=part.name,
                count=part.count,
                share=share(part.count, total),
                width=round(width * scale, 2),
                start=round(start, 2),
                style=part.style,
            )
        )
        start += width * scale
    return bars


def _parts(report: DataReport) -> list[Part]:
    out = [
        *(
            Part(f"invalid: {fault_in_words(kind)}", count, "invalid")
            for kind, count in _most(report.invalid).items()
        ),
        Part("too long", report.too_long, "long"),
        Part("left out by checks", report.dropped_units, "dropped"),
    ]
    left = report.rows - sum(part.count for part in out)
    return [*_kept(report, left), *out]


def _kept(report: DataReport, left: int) -> list[Part]:
    """The `left` rows that nothing leaves out; of pairs and blocks a row may make several."""
    if report.problem is not None:
        return [Part("the other rows", left, "kept")] if left > 0 else []
    units = report.training_units + report.evaluation_units
    one_each = report.unit not in (Unit.PAIR, Unit.BLOCK)
    if units == left or (one_each and units < left):
        return [
            Part("to train on", report.training_units, "kept"),
            Part("held out", report.evaluation_units, "held"),
            Part("left out of the held-out rows by checks", left - units, "dropped"),
        ]
    made = counted(units, report.unit.value.lower())
    return [Part(f"kept, which make {made}", left, "kept")] if left > 0 else []


def length_bars(report: DataReport) -> list[Bar]:
    """Training rows by their tokens, in bins that double."""
    if not report.lengths:
        return []
    rows = {each.up_to: each.rows for each in report.lengths}
    first, last = min(rows), max(rows)
    bounds = [first << step for step in range((last // first).bit_length())]
    bars = _bars({f"up to {bound:,}": rows.get(bound, 0) for bound in bounds})
    limit = report.sequence_length
    note = f"training.sequenceLength is {limit:,}"
    return [
        Bar(bar.name, bar.count, bar.share, bar.width, note=note)
        if bound // 2 < limit <= bound
        else bar
        for bound, bar in zip(bounds, bars, strict=True)
    ]


def language_bars(report: DataReport) -> list[Bar]:
    """Units by language."""
    named = {language_in_words(code): count for code, count in report.languages.items()}
    return _bars(_most(named))


def relevance_bars(report: DataReport) -> list[Bar]:
    """Training units by how near they are to the domain."""
    bins = len(report.relevance)
    return _bars(
        {
            f"{place / bins:.1f} to {(place + 1) / bins:.1f}": count
            for place, count in enumerate(report.relevance)
        }
    )


def _bars(counts: Mapping[str, int]) -> list[Bar]:
    """Side by side, the largest as wide as the chart."""
    total, largest = sum(counts.values()), max(counts.values(), default=0)
    return [
        Bar(
            name=name,
            count=count,
            share=share(count, total),
            width=round(max(_LEAST_WIDTH, 100 * count / largest), 2) if count else 0,
        )
        for name, count in counts.items()
    ]


def _most(counts: Mapping[str, int]) -> dict[str, int]:
    """The largest counts, the largest first, and the sum of the others."""
    ordered = sorted(counts.items(), key=lambda item: -item[1])
    most = dict(ordered[:MOST_BARS])
    others = sum(count for _, count in ordered[MOST_BARS:])
    return {**most, "others": others} if others else most
