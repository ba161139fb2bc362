from pathlib import Path

import pytest
from finetune_trainer.checks import duplicates
from finetune_trainer.checks.duplicates import find_duplicates
from finetune_trainer.checks.shingles import jaccard

from benchmarks.checks.pairs import Unit
from benchmarks.checks.planted import spool_of
from benchmarks.checks.prose import seeded, words

RANDOM = seeded(1)


def text(count: int) -> str:
    return " ".join(words(RANDOM, count))


def kept(folder: Path, units: list[Unit]) -> list[int]:
    with spool_of(folder, units) as spool:
        return [int(unit) for unit in find_duplicates(spool)]


def changed(original: str, *places: int) -> str:
    parts = original.split()
    for place in places:
        parts[place] = "changed"
    return " ".join(parts)


def test_copies_belong_to_the_first_of_them(tmp_path: Path) -> None:
    prompt, answer = text(30), text(60)
    units = [
        (text(30), text(60)),
        (prompt, answer),
        (prompt.upper(), answer),
        (prompt, answer + "."),
    ]
    assert kept(tmp_path, units) == [-1, -1, 1, 1]


def test_a_copy_with_a_word_changed_is_a_duplicate(tmp_path: Path) -> None:
    prompt, answer = text(60), text(60)
    assert kept(tmp_path, [(prompt, answer), (prompt, changed(answer, 59))]) == [-1, 0]


def test_a_shared_template_or_prompt_or_short_answer_is_none(tmp_path: Path) -> None:
    template, prompt, answer = text(60), text(40), text(40)
    units = [
        (f"{template} {text(5)}", text(20)),
        (f"{template} {text(5)}", text(20)),
        (prompt, text(30)),
        (prompt, text(30)),
        (text(20), "Yes."),
        (text(20), "Yes."),
        (text(20), answer),
        (text(20), answer),
    ]
    assert kept(tmp_path, units) == [-1] * 8


def test_documents_have_an_empty_part_and_are_compared_by_the_other(tmp_path: Path) -> None:
    document = text(200)
    units = [("", document), ("", changed(document, 100)), ("", text(200)), ("", ""), ("", "")]
    assert kept(tmp_path, units) == [-1, 0, -1, -1, 3]


def test_there_are_no_chains(tmp_path: Path) -> None:
    """Each is like the one before it; the third is not like the first, so it is kept."""
    first = text(100)
    second, third = changed(first, 10, 30), changed(first, 10, 30, 50, 70)
    assert kept(tmp_path, [("", first), ("", second), ("", third)]) == [-1, 0, -1]


def test_a_copy_of_a_duplicate_is_given_to_the_kept_unit(tmp_path: Path) -> None:
    first = text(100)
    second = changed(first, 99)
    assert kept(tmp_path, [("", first), ("", second), ("", second)]) == [-1, 0, 0]


def test_short_questions_with_other_numbers_stay(tmp_path: Path) -> None:
    units = [(f"What is {n} + {n + 1}?", str(2 * n + 1)) for n in range(10, 60)]
    assert kept(tmp_path, units) == [-1] * 50


def test_chinese_text_is_compared_by_characters(tmp_path: Path) -> None:
    question = "请问这台水泵的过滤器应该多久更换一次，更换时需要注意哪些事项？如果没有备件怎么办"
    units = [
        (question, "每年一次"),
        (question + "呢", "每年一次"),
        ("打印机的设置在哪里可以找到", "每年一次"),
    ]
    assert kept(tmp_path, units) == [-1, 0, -1]


def test_one_hot_band_costs_bounded_work(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    compared = 0

    def counted(a: frozenset[int], b: frozenset[int]) -> float:
        nonlocal compared
        compared += 1
        return jaccard(a, b)

    monkeypatch.setattr(duplicates, "jaccard", counted)
    template = text(120)
    units = [(template, f"{text(1)} {number}") for number in range(1_500)]
    units += [(template, "the very same answer"), (template, "the very same answer!")]
    found = kept(tmp_path, units)
    assert found[-1] == 1_500
    assert compared <= 2 * duplicates.MOST_CANDIDATES * len(units)


def test_pairs_are_looked_at_in_every_range_of_units(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(duplicates, "_RANGE", 16)
    units = [("", text(60)) for _ in range(50)]
    units += [("", changed(unit[1], 0)) for unit in units]
    assert kept(tmp_path, units) == [-1] * 50 + list(range(50))
    assert not list(tmp_path.glob("pairs-*"))


def test_nothing_has_no_duplicates(tmp_path: Path) -> None:
    assert kept(tmp_path, []) == []
