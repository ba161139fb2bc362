"""The data report as a page: complete, self-contained, and safe whatever rows hold."""

import re
from html.parser import HTMLParser

import pytest
from finetune_api.status import RowError
from finetune_api.units import Unit
from finetune_trainer.data.faults import Fault
from finetune_trainer.preparation.page import render_page
from finetune_trainer.preparation.page_words import counted, fault_in_words, share, visible
from finetune_trainer.preparation.report import (
    CheckReport,
    DataReport,
    LengthBin,
    Segment,
    ShownRow,
    ShownUnit,
)
from finetune_trainer.prepared import SourceFile, SourceInfo

from tests.unit.trainer.prepare.conftest import World, good_rows

VOID = {"meta", "br"}
HOSTILE = (
    "<script>alert(1)</script></details></div><img src=x onerror=alert(2)>"
    "{{ 7 * 7 }}{% raw %}{# note #}]]>--><!-- \"'&amp;\u202eevil\u2066\x00\x1b\r\ud800\ufeff"
)
HOSTILE_SHOWN = (
    "<script>alert(1)</script></details></div><img src=x onerror=alert(2)>"
    "{{ 7 * 7 }}{% raw %}{# note #}]]>--><!-- \"'&amp;[U+202E]evil[U+2066][U+0000][U+001B][U+000D]"
    "[U+D800][U+FEFF]"
)


class Page(HTMLParser):
    """A page as a browser reads it; refuses tags that are not balanced."""

    def __init__(self, html: str) -> None:
        super().__init__(convert_charrefs=True)
        self.open: list[str] = []
        self.tags: set[str] = set()
        self.attributes: list[tuple[str, str, str]] = []
        self.texts: list[tuple[tuple[str, ...], str]] = []
        self.feed(html)
        self.close()
        assert not self.open

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self._note(tag, attrs)
        name = dict(attrs).get("class")
        if tag not in VOID:
            self.open.append(f"{tag}.{name}" if name else tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self._note(tag, attrs)

    def _note(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.add(tag)
        self.attributes += [(tag, name, value or "") for name, value in attrs]

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop().partition(".")[0] == tag

    def handle_data(self, data: str) -> None:
        self.texts.append((tuple(self.open), data))

    def text(self, *inside: str) -> str:
        """All text within elements of these names."""
        return "".join(text for path, text in self.texts if set(inside) <= set(path))

    @property
    def words(self) -> str:
        """All that is read, in one line."""
        read = (text for path, text in self.texts if not {"style", "title"} & set(path))
        return re.sub(r"\s+", " ", " ".join(read))

    @property
    def ids(self) -> set[str]:
        return {value for _, name, value in self.attributes if name == "id"}


def report(**changes: object) -> DataReport:
    """The smallest report there is; `changes` replace parts of it."""
    least: dict[str, object] = {
        "unit": Unit.ROW,
        "sources": [],
        "rows": 0,
        "invalid": {},
        "too_long": 0,
        "dropped_units": 0,
        "longest": 0,
        "sequence_length": 512,
        "checks": [],
        "checks_off": [],
        "languages": {},
        "relevance": [],
        "irrelevant": [],
        "notices": {},
        "web_rules": {},
    }
    return DataReport.model_validate({**least, **changes})


def shown(*parts: tuple[str, bool], name: str | None = None, tokens: int = 7) -> ShownRow:
    segments = [Segment(text=text, learnt=learnt) for text, learnt in parts]
    return ShownRow(name=name, segments=segments, tokens=tokens, label_tokens=3)


def unit(*rows: ShownRow, answer: str | None = None, pieces: int = 1) -> ShownUnit:
    where = "s3://data/rows.jsonl:3"
    return ShownUnit(
        where=where, tokens=7, label_tokens=3, pieces=pieces, rows=list(rows), answer=answer
    )


def errors(count: int, message: str = "the text is empty") -> list[RowError]:
    return [
        RowError(file="s3://data/rows.jsonl", row=n + 1, field="response", message=message)
        for n in range(count)
    ]


def finding(check: str, mode: str = "Report", rows: int = 1) -> CheckReport:
    return CheckReport(
        check=check,
        mode=mode,
        rows=rows,
        kinds={"Email": 1_200, "LengthOutlier": 0},
        message="rows hold personal data: take it out",
        first=errors(1, "Email (2)"),
    )


def source(uri: str = "s3://data/rows", files: int = 2) -> SourceInfo:
    return SourceInfo(
        uri=uri,
        sha256="0" * 64,
        files=[
            SourceFile(uri=f"{uri}/{n}.jsonl", sha256="0" * 64, shape="Instruction (dolly)")
            for n in range(files)
        ],
        rows=1_300,
        units=1_100,
        tokens=45_000,
    )


def full() -> DataReport:
    """A report with something in every section."""
    return report(
        rows=1_300,
        training_units=1_100,
        evaluation_units=100,
        training_tokens=45_000,
        label_tokens=15_000,
        invalid={"Empty": 20, "NotUtf8": 1},
        too_long=30,
        dropped_units=49,
        longest=900,
        lengths=[LengthBin(up_to=64, rows=600), LengthBin(up_to=512, rows=500)],
        first_errors=errors(20),
        unreadable=errors(1, "needs OCR: the pages are pictures"),
        checks=[finding("personalData", rows=1_000)],
        checks_off=["contradictions"],
        languages={"en": 1_000, "und": 200},
        relevance=[0, 0, 0, 0, 0, 100, 900, 100, 0, 0],
        irrelevant=errors(1, "relevance 0.51"),
        notices={"Copyright": 3},
        web_rules={"StopWords": 1},
        sources=[source()],
        warnings=["no row is held out"],
        samples=[unit(shown(("<s>Question\n", False), ("Answer</s>", True)))],
        special_tokens=["<s>", "</s>"],
    )


SECTIONS: dict[str, tuple[str, ...]] = {
    "flow": ("rows", "training_units", "evaluation_units", "invalid", "too_long", "dropped_units"),
    "findings": ("checks", "checks_off"),
    "errors": ("first_errors",),
    "unreadable": ("unreadable",),
    "lengths": ("lengths",),
    "languages": ("languages",),
    "relevance": ("relevance",),
    "sources": ("sources",),
    "information": ("notices", "web_rules"),
    "warnings": ("warnings",),
    "samples": ("samples",),
}
"""Fields of a report that a section shows."""


def test_the_page_loads_and_runs_nothing() -> None:
    html = render_page(full())
    page = Page(html)

    assert html.startswith("<!doctype html>")
    assert page.tags.isdisjoint(
        {"script", "link", "img", "iframe", "object", "base", "form", "use"}
    )
    references = {
        value
        for _, name, value in page.attributes
        if name in {"src", "href", "xlink:href", "srcset", "action", "data"}
    }
    assert references <= {f"#{name}" for name in page.ids}
    assert not [name for _, name, _ in page.attributes if name.startswith("on")]
    assert not re.search(r"url\(|@import|javascript:", html)
    assert ("meta", "content", "default-src 'none'; style-src 'unsafe-inline'") in page.attributes


@pytest.mark.parametrize("section", SECTIONS)
def test_a_section_stands_when_its_data_is_there_and_not_otherwise(section: str) -> None:
    fields = SECTIONS[section]
    with_it = report(**{field: getattr(full(), field) for field in fields})
    without = full().model_copy(update={field: getattr(report(), field) for field in fields})
    if section == "findings":  # else the checks that found nothing are told
        without = without.model_copy(update={"problem": "refused"})

    assert section in Page(render_page(with_it)).ids
    assert section not in Page(render_page(without)).ids


def test_sections_come_in_the_order_in_which_they_are_read() -> None:
    html = render_page(full())

    places = [html.index(f'id="{section}"') for section in SECTIONS]
    assert places == sorted(places)
    assert html.index("Ready to train") < places[0]


def test_a_refused_report_says_why_and_what_to_do() -> None:
    problem = "s3://data/rows.jsonl:4: 2 rows are invalid and 0 are allowed"

    page = Page(render_page(report(problem=problem, rows=9, invalid={"Empty": 2})))

    assert "Refused" in page.text("h1")
    assert problem in page.words
    assert "Delete the job with kubectl delete , and apply it again" in page.words
    assert "Ready" not in page.words


def test_a_ready_report_does_not_speak_of_a_problem() -> None:
    page = Page(render_page(full()))

    assert "Ready to train" in page.text("h1")
    assert "Training reads 1,100 rows; 100 rows are held out" in page.words
    assert "1 check found something. There is 1 warning." in page.words
    assert "Refused" not in page.words


def test_numbers_have_separators_and_their_plurals() -> None:
    words = Page(render_page(full())).words

    for told in ("1,300 rows read", "45,000 tokens to train on", "15,000 label tokens", "33.3%"):
        assert told in words
    one = report(rows=1, training_units=1, training_tokens=1)
    words = Page(render_page(one)).words
    for told in ("1 row read", "1 row to train on", "1 token to train on", "0 rows held out"):
        assert told in words


def test_rows_in_and_out_add_up() -> None:
    page = Page(render_page(full()))

    rows = [text for path, text in page.texts if "section.rows" in path and "tbody" in path]
    cells = [text for text in rows if text.strip()]
    counts = {
        name: int(count.replace(",", ""))
        for name, count in zip(cells[::3], cells[1::3], strict=True)
    }
    assert counts == {
        "to train on": 1_100,
        "held out": 100,
        "invalid: empty": 20,
        "invalid: not UTF-8": 1,
        "too long": 30,
        "left out by checks": 49,
    }
    assert sum(counts.values()) == full().rows


def test_rows_that_make_several_blocks_are_not_added_to_blocks() -> None:
    page = Page(
        render_page(report(unit=Unit.BLOCK, rows=40, training_units=200, evaluation_units=50))
    )

    assert "kept, which make 250 blocks 40 100%" in page.words


def test_a_finding_names_mode_rows_kinds_and_places() -> None:
    words = Page(render_page(full())).words

    assert "Personal data Report 1,000 rows hold personal data: take it out Email 1,200" in words
    assert "The first 1 of 1,000 rows" in words
    assert "s3://data/rows.jsonl:1 response Email (2)" in words
    assert "LengthOutlier" not in words
    assert "Off in this job, so not looked for: contradictions" in words
    assert "Nothing found: secrets, duplicates" in words


def test_refused_data_is_not_said_to_be_free_of_what_was_not_looked_for() -> None:
    page = Page(render_page(full().model_copy(update={"problem": "a file cannot be read"})))

    assert "Nothing found" not in page.words


def test_the_bin_of_the_sequence_length_is_marked() -> None:
    words = Page(render_page(full())).words

    assert "up to 512 training.sequenceLength is 512 500" in words
    assert "up to 128 0 0%" in words


def test_the_loss_mask_is_that_of_the_segments() -> None:
    parts = [("<s>user\n  <b>&amp;\t", False), ("learnt </s>", True), ("\n", False), ("too", True)]
    sample = unit(shown(*parts))

    page = Page(render_page(full().model_copy(update={"samples": [sample]})))

    assert page.text("div.tokens") == "".join(text for text, _ in parts)
    assert page.text("div.tokens", "mark") == "learnt </s>too"
    assert page.text("div.tokens", "b") == "<s></s>"


def test_long_text_is_folded_and_none_of_it_is_lost() -> None:
    parts = [("How? " * 100, False), ("Like this. " * 500, True)]

    page = Page(render_page(full().model_copy(update={"samples": [unit(shown(*parts))]})))

    assert page.text("div.tokens") == "".join(text for text, _ in parts)
    assert page.text("div.tokens", "mark") == parts[1][0]
    assert len(page.text("div.tokens", "details")) > 4_000
    assert "Show the next 4,5" in page.words


def test_a_row_of_more_tokens_than_are_shown_says_so() -> None:
    sample = unit(shown(("text", True), tokens=5_000))

    page = Page(render_page(full().model_copy(update={"samples": [sample]})))

    assert "Cut here: the row has 5,000 tokens" in page.words


def test_sides_and_right_answers_are_named() -> None:
    pair = unit(shown(("a", True), name="chosen"), shown(("b", True), name="rejected"))
    prompt = unit(shown(("c", False)), answer="42")

    page = Page(render_page(full().model_copy(update={"samples": [pair, prompt]})))

    assert [text for path, text in page.texts if path[-1:] == ("h4",)] == ["Chosen", "Rejected"]
    assert "The right answer: 42" in page.words


def test_hostile_rows_stay_text() -> None:
    sample = unit(shown((HOSTILE, True), name=HOSTILE), answer=HOSTILE)

    html = render_page(full().model_copy(update={"samples": [sample]}))
    page = Page(html)

    assert page.text("div.tokens", "mark") == HOSTILE_SHOWN
    assert f"The right answer: {HOSTILE_SHOWN}" in page.words
    assert "<script" not in html
    assert not re.search("[\u202a-\u202e\u2066-\u2069\x00\x1b\r\ud800\ufeff]", html)
    assert html.encode().decode() == html


def test_hostile_names_and_messages_stay_text() -> None:
    whole = HOSTILE.replace("\ud800", "")  # which no RowError takes
    bad = RowError(file=whole, row=1, field=whole[:128], message=whole)
    check = CheckReport(
        check=HOSTILE, mode=HOSTILE, rows=1, kinds={HOSTILE: 1}, message=HOSTILE, first=[bad]
    )
    files = [SourceFile(uri=HOSTILE, sha256="0", shape=HOSTILE) for _ in range(2)]
    hostile = report(
        problem=HOSTILE,
        rows=2,
        invalid={HOSTILE: 1},
        first_errors=[bad],
        checks=[check],
        checks_off=[HOSTILE],
        languages={HOSTILE: 1},
        relevance=[1] * 10,
        irrelevant=[bad],
        notices={HOSTILE: 1},
        web_rules={HOSTILE: 1},
        warnings=[HOSTILE],
        sources=[SourceInfo(uri=HOSTILE, sha256="0", files=files)],
        samples=[unit(shown((HOSTILE, False)))],
        special_tokens=["\u202e", "<script>"],
    )

    html = render_page(hostile)

    assert Page(html).words.count("<script>alert(1)</script>") > 10
    assert "<script" not in html
    assert not [name for _, name, _ in Page(html).attributes if name.startswith("on")]
    assert html.encode().decode() == html


@pytest.mark.parametrize("character", ["a", "&", "\n", "\u202e", "\U0001f600"])
def test_the_largest_report_is_under_a_megabyte(character: str) -> None:
    row = RowError(
        file=character * 1024, row=10**12, field=character * 128, message=character * 256
    )
    side = shown((character * 20_000, False), (character * 20_000, True), name=character * 100)
    files = [
        SourceFile(uri=character * 1024, sha256="0", shape=f"{character}{n}") for n in range(2_000)
    ]
    check = CheckReport(
        check="language",
        mode="Report",
        rows=20,
        kinds={f"{n}{character * 100}": n for n in range(300)},
        message=character * 256,
        first=[row] * 20,
    )
    largest = full().model_copy(
        update={
            "problem": character * 4_000,
            "first_errors": [row] * 20,
            "irrelevant": [row] * 5,
            "checks": [check] * 8,
            "languages": {f"{n}{character}": n for n in range(200)},
            "warnings": [character * 1_000] * 16,
            "sources": [SourceInfo(uri=character * 1024, sha256="0", files=files)] * 70,
            "samples": [unit(*[side] * sides) for sides in (32, 2, 1, 1, 1)],
            "web_rules": {f"Rule{n}": n for n in range(30)},
        }
    )

    html = render_page(largest)

    Page(html)
    assert len(html.encode()) < 1_000_000


def test_the_files_of_a_source_are_named_up_to_a_number() -> None:
    many = source(files=1_000)

    words = Page(render_page(report(sources=[many, source("s3://data/more")]))).words

    assert "1,000 files" in words
    assert "900 other files, in the .json file beside this page" in words
    assert "2 files, in the .json file beside this page" in words


def test_every_fault_has_words() -> None:
    told = [fault_in_words(fault.value) for fault in Fault]

    assert len(set(told)) == len(Fault)
    assert fault_in_words("AnotherOne") == "AnotherOne"


@pytest.mark.parametrize(
    ("part", "whole", "told"),
    [
        (0, 0, "0%"),
        (0, 5, "0%"),
        (5, 5, "100%"),
        (1, 3, "33.3%"),
        (1, 10_000, "under 0.1%"),
        (9_999, 10_000, "over 99.9%"),
    ],
)
def test_shares_do_not_round_to_all_or_nothing(part: int, whole: int, told: str) -> None:
    assert share(part, whole) == told


def test_words_for_counts_and_addresses() -> None:
    assert [counted(n, "row") for n in (0, 1, 2, 3_000)] == [
        "0 rows",
        "1 row",
        "2 rows",
        "3,000 rows",
    ]
    assert visible("s3://a/b\nc\u200bd") == "s3://a/b c[U+200B]d"
    assert visible("x" * 50 + "y" * 50, 10) == "xxxxx … yyyyy"


def test_a_preparation_writes_a_page_with_its_samples(world: World) -> None:
    message = world.prepare()

    assert message.data is not None
    assert message.data.report_uri is not None
    path = world.root / message.data.report_uri.removeprefix(f"{world.root.as_uri()}/")
    page = Page(path.read_text(encoding="utf-8"))
    first = re.search(r"What is (\d+)\?", page.text("div.tokens"))
    assert first is not None
    assert f"The answer {first[1]} is short.<|im_end|>" in page.text("div.tokens", "mark")
    assert "<|im_start|>" in page.text("div.tokens", "b")
    assert "32 rows to train on" in page.words


@pytest.mark.parametrize(
    ("method", "rows", "names"),
    [
        (
            "DPO",
            [{"prompt": f"Q{n}?", "chosen": f"good {n}", "rejected": "bad"} for n in range(20)],
            ["Chosen", "Rejected"],
        ),
        (
            "KTO",
            [{"prompt": f"Q{n}?", "completion": f"A{n}", "label": n % 2 == 0} for n in range(20)],
            ["Desirable", "Undesirable"],
        ),
        (
            "Reward",
            [
                {"prompt": f"Q{n}?", "responses": ["bad", f"good {n}", "so"], "scores": [1, 3, 2.5]}
                for n in range(20)
            ],
            ["Answer 1 of 3, score 3", "Answer 2 of 3, score 2.5", "Answer 3 of 3, score 1"],
        ),
        ("SFT", good_rows(20), []),
    ],
)
def test_rows_of_a_unit_are_named_by_method(
    world: World, method: str, rows: list[object], names: list[str]
) -> None:
    world.rows("rows.jsonl", rows)
    message = world.prepare(method=method)

    assert message.data is not None
    assert message.data.report_uri is not None
    path = world.root / message.data.report_uri.removeprefix(f"{world.root.as_uri()}/")
    page = Page(path.read_text(encoding="utf-8"))
    told = {text for inside, text in page.texts if inside[-1:] == ("h4",)}
    assert told == set(names)
