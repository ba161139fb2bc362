"""The data report as a page: one file that loads nothing and runs nothing.

All text of rows and jobs is escaped by the template and has its hidden characters marked; values
of rows stand in the samples alone.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from finetune_api.status import RowError
from jinja2 import Environment, FileSystemLoader, StrictUndefined, Template

from finetune_trainer.preparation import page_words
from finetune_trainer.preparation.findings import Check
from finetune_trainer.preparation.page_charts import (
    flow,
    language_bars,
    length_bars,
    relevance_bars,
)
from finetune_trainer.preparation.page_text import ShownText, Specials, texts_of
from finetune_trainer.preparation.report import DataReport, ShownUnit
from finetune_trainer.prepared import SourceInfo

MOST_FILES = 100
"""Files of sources that the page names."""
MOST_SHAPES = 4
"""Shapes of a source that the page names."""
MOST_KINDS = 12
"""Kinds of a finding that the page names."""


@dataclass(frozen=True)
class _Tile:
    """A number that stands out."""

    count: str
    name: str
    note: str = ""


@dataclass(frozen=True)
class _Source:
    """A source, with as many of its files as are named."""

    uri: str
    files: list[str]
    more_files: int
    shapes: str
    """What its rows were read as."""
    rows: int
    units: int
    tokens: int


@dataclass(frozen=True)
class _Sample:
    """A unit and the texts of its rows."""

    unit: ShownUnit
    texts: list[ShownText]


def render_page(report: DataReport) -> str:
    """One self-contained HTML page, under a megabyte."""
    specials = Specials(report.special_tokens)
    samples = [_Sample(unit, texts_of(unit, specials)) for unit in report.samples]
    return _template().render(
        report=report,
        ready=report.problem is None,
        tiles=list(_tiles(report)),
        flow=flow(report),
        found_nothing=_found_nothing(report),
        length_bars=length_bars(report),
        language_bars=language_bars(report),
        relevance_bars=relevance_bars(report),
        sources=list(_sources(report)),
        samples=samples,
        kinds_shown={kind for each in samples for text in each.texts for kind in text.kinds},
        rules=_ordered(report.web_rules),
        notices=_ordered(report.notices),
    )


def compile_page() -> None:
    """Do at leisure what the first page waits for."""
    _template()


@cache
def _template() -> Template:
    environment = Environment(
        loader=FileSystemLoader(Path(__file__).parent),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters.update(
        visible=page_words.visible,
        number=page_words.number,
        counted=page_words.counted,
        check=page_words.check_in_words,
        kinds=_kinds,
        place=_place,
    )
    return environment.get_template("page.html.j2")


def _tiles(report: DataReport) -> Iterator[_Tile]:
    yield _tile(report.rows, "row", " read")
    if report.training_units:
        thing, refused = report.unit.value.lower(), report.problem is not None
        yield _tile(report.training_units, thing, " would train" if refused else " to train on")
        yield _tile(
            report.evaluation_units, thing, " would be held out" if refused else " held out"
        )
        yield _tile(report.training_tokens, "token", " in these" if refused else " to train on")
    if report.label_tokens:
        learnt = page_words.share(report.label_tokens, report.training_tokens)
        labels = page_words.counted(report.label_tokens, "label token")
        yield _Tile(learnt, "of the tokens are learnt", labels)
    if report.rows:
        out = sum(report.invalid.values()) + report.too_long + report.dropped_units
        part = page_words.share(min(out, report.rows), report.rows)
        yield _Tile(page_words.number(out), "left out", f"{part} of the rows" if out else "")


def _tile(count: int, thing: str, what: str) -> _Tile:
    number, things = page_words.counted(count, thing).split(" ")
    return _Tile(number, things + what)


def _found_nothing(report: DataReport) -> list[str]:
    """Checks that looked and found nothing; data that is refused may not have been read whole."""
    if report.problem is not None:
        return []
    told = {*report.checks_off, *(each.check for each in report.checks)}
    return [check.value for check in Check if check not in told]


def _sources(report: DataReport) -> Iterator[_Source]:
    left = MOST_FILES
    for source in report.sources:
        files = [file.uri for file in source.files] if len(source.files) > 1 else []
        named = files[:left]
        left -= len(named)
        yield _Source(
            uri=source.uri,
            files=named,
            more_files=len(files) - len(named),
            shapes=_shapes(source),
            rows=source.rows,
            units=source.units,
            tokens=source.tokens,
        )


def _shapes(source: SourceInfo) -> str:
    shapes = [shape for shape in source.shapes if shape]
    named = [page_words.visible(shape, 80) for shape in shapes[:MOST_SHAPES]]
    others = len(shapes) - len(named)
    return "; ".join([*named, *([f"{others:,} other ways"] if others else [])])


def _ordered(counts: dict[str, int]) -> list[tuple[str, int]]:
    return sorted(counts.items(), key=lambda item: -item[1])


def _kinds(kinds: dict[str, int]) -> list[str]:
    """ "Email 12", the most frequent first."""
    ordered = [(kind, count) for kind, count in _ordered(kinds) if count]
    named = [
        f"{page_words.visible(kind, 64)} {page_words.number(count)}"
        for kind, count in ordered[:MOST_KINDS]
    ]
    others = len(ordered) - len(named)
    return [*named, f"and {page_words.counted(others, 'other kind')}"] if others else named


def _place(error: RowError) -> str:
    """FILE:ROW; of a source as a whole its address."""
    file = page_words.visible(error.file, 120)
    return f"{file}:{error.row}" if error.row else file
