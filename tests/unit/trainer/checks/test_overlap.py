from pathlib import Path

import numpy as np
import pytest
from finetune_trainer.checks import grams
from finetune_trainer.checks.overlap import Kind, find_overlap

from benchmarks.checks.pairs import Unit
from benchmarks.checks.planted import spool_of
from benchmarks.checks.prose import seeded, words

RANDOM = seeded(1)


def text(count: int) -> str:
    return " ".join(words(RANDOM, count))


def found(
    folder: Path, train: list[Unit], evaluation: list[Unit], skip: list[bool] | None = None
) -> list[tuple[int, int, Kind]]:
    one, two = spool_of(folder / "train", train), spool_of(folder / "evaluation", evaluation)
    with one, two:
        findings = find_overlap(one, two, None if skip is None else np.array(skip))
    return [(int(f["train"]), int(f["evaluation"]), Kind(f["kind"])) for f in findings]


def test_a_unit_of_the_evaluation_is_found_in_the_training_data(tmp_path: Path) -> None:
    unit = text(30), text(20)
    assert found(tmp_path, [(text(30), text(20)), unit], [unit]) == [(1, 0, Kind.EXACT)]


def test_a_question_with_another_answer_is_near(tmp_path: Path) -> None:
    question = text(30)
    assert found(tmp_path, [(question + " so", text(20))], [(question, text(9))]) == [
        (0, 0, Kind.NEAR)
    ]


def test_a_short_question_with_a_word_changed_is_near(tmp_path: Path) -> None:
    question = "Which valve of the second pump has to be closed before maintenance begins?"
    other = question.replace("has", "had")
    assert found(tmp_path, [(other, text(20))], [(question, text(2))]) == [(0, 0, Kind.NEAR)]


def test_a_question_inside_a_long_document_is_covered(tmp_path: Path) -> None:
    question = text(30)
    edited = question.replace(question.split()[15], "edited")
    train = [("", f"{text(500)} {edited} {text(500)}"), ("", text(900))]
    assert found(tmp_path, train, [(question, "yes")]) == [(0, 0, Kind.COVERED)]


def test_a_long_answer_in_a_document_is_covered(tmp_path: Path) -> None:
    answer = text(30)
    assert found(tmp_path, [("", f"{text(90)} {answer} {text(9)}")], [(text(9), answer)]) == [
        (0, 0, Kind.COVERED)
    ]


def test_thirteen_words_in_a_row_are_a_warning_and_twelve_are_none(tmp_path: Path) -> None:
    question = words(RANDOM, 60)
    train = [("", " ".join([*words(RANDOM, 50), *question[:size]])) for size in (12, 13)]
    assert found(tmp_path, train, [(" ".join(question), "")]) == [(1, 0, Kind.SHARED)]


def test_a_training_unit_has_one_warning_and_all_of_its_errors(tmp_path: Path) -> None:
    asked = [(text(30), "") for _ in range(4)]
    half = [" ".join(question.split()[:14]) for question, _ in asked[:2]]
    unit = ("", " . ".join([*half, text(50), asked[2][0], asked[3][0]]))
    assert found(tmp_path, [unit], asked) == [
        (0, 0, Kind.SHARED),
        (0, 2, Kind.COVERED),
        (0, 3, Kind.COVERED),
    ]


def test_parts_under_eight_words_are_compared_as_wholes(tmp_path: Path) -> None:
    evaluation = [("What is it?", "A pump"), ("Who is it?", "K")]
    train = [
        ("What is it?", "A valve"),
        ("what is  it?", "a pump"),
        ("", "What is it? A pump " * 9),
    ]
    assert found(tmp_path, train, evaluation) == [(1, 0, Kind.EXACT)]


def test_a_template_of_the_evaluation_covers_nothing_and_counts_for_nothing(tmp_path: Path) -> None:
    template = text(60)
    questions = [text(15) for _ in range(40)]
    evaluation = [(f"{template} {question}", "yes") for question in questions]
    train = [(f"{template} {text(15)}", "no"), ("", f"{text(200)} {questions[7]} {text(20)}")]
    assert found(tmp_path, train, evaluation) == [(1, 7, Kind.COVERED)]


def test_units_that_are_left_out_are_not_looked_at(tmp_path: Path) -> None:
    unit = text(30), text(20)
    assert found(tmp_path, [unit, unit], [unit], [True, False]) == [(1, 0, Kind.EXACT)]


def test_a_gram_does_not_reach_into_the_next_unit(tmp_path: Path) -> None:
    question = text(30).split()
    train = [("", " ".join(question[place : place + 6])) for place in range(0, 30, 6)]
    assert found(tmp_path, train, [(" ".join(question), "")]) == []


def test_a_unit_is_counted_as_a_whole_however_much_is_expanded_at_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(grams, "_MOST_HITS", 5)
    asked = [(text(30), "") for _ in range(6)]
    train = [("", f"{text(20)} {question} {text(20)}") for question, _ in asked]
    assert found(tmp_path, train, asked) == [(n, n, Kind.COVERED) for n in range(6)]


def test_nothing_overlaps_with_nothing(tmp_path: Path) -> None:
    assert found(tmp_path / "a", [(text(9), "")], []) == []
    assert found(tmp_path / "b", [], [(text(9), "")]) == []
