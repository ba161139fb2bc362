import numpy as np
import pytest
from finetune_trainer.checks.prints import BANDS, ROWS, bands_of, minima, print_of
from finetune_trainer.checks.shingles import jaccard, part_shingles, windows
from finetune_trainer.checks.words import hashes_of, normalised, words_of

from benchmarks.checks.pairs import similarity
from benchmarks.checks.prose import seeded, words

PROMPT = "How do I change the filter of the pump?"
ANSWER = "Close the valve, open the lid, and turn the filter to the left until it comes off."


def test_a_print_has_25_bands_and_a_hash_per_word() -> None:
    unit = print_of(PROMPT, ANSWER)
    assert unit.bands.shape == (25,)
    assert unit.bands.dtype == np.uint64
    assert (unit.prompt_words, len(unit.words)) == (9, 26)


def test_case_spacing_marks_and_width_of_letters_make_no_other_words() -> None:
    same = print_of("HOW do I  change the filter\nof the pump", ANSWER)
    assert np.array_equal(same.words, print_of(PROMPT, ANSWER).words)
    assert print_of("Ｆｉｌｔｅｒ", "").exact == print_of("filter", "").exact


def test_signs_that_change_the_meaning_make_another_exact_hash() -> None:
    assert print_of("3 + 4", "x").exact != print_of("3 - 4", "x").exact
    assert print_of("ab", "c").exact != print_of("a", "bc").exact


def test_the_same_words_as_prompt_and_as_answer_share_no_band() -> None:
    assert not np.isin(print_of(ANSWER, "").bands, print_of("", ANSWER).bands).any()


@pytest.mark.parametrize("text", ["", "ok", "?!", "今天", "สวัสดีครับ", "\U0001f600"])
def test_a_text_shorter_than_a_window_has_a_print(text: str) -> None:
    assert np.array_equal(print_of(text, "").bands, print_of(text, "").bands)
    assert print_of(text, "").bands.shape == (25,)


def test_a_character_of_a_script_without_spaces_is_a_word() -> None:
    assert words_of(normalised("今天天气,很好 ok")) == ["今", "天", "天", "气", "很", "好", "ok"]


def test_permutations_choose_many_different_shingles() -> None:
    shingles = windows(hashes_of(words(seeded(1), 2_000)), 5)
    assert len(np.unique(minima(shingles))) > 100
    order = [int(np.argmin(shingles * factor)) for factor in _factors()]
    assert len(set(order)) > 100


def _factors() -> list[np.uint64]:
    from finetune_trainer.checks import prints

    return list(prints._FACTORS)


def test_25_bands_of_5_find_more_pairs_than_14_of_8() -> None:
    random = seeded(2)
    found = {(25, 5): 0, (14, 8): 0}
    for _ in range(300):
        text = words(random, 60)
        other = list(text)
        for place in (10, 30, 50):
            other[place] = "changed"
        one, two = (minima(windows(hashes_of(part), 5)) for part in (text, other))
        for (bands, rows), _count in found.items():
            size = bands * rows
            same = (one[:size] == two[:size]).reshape(bands, rows).all(axis=1)
            found[bands, rows] += bool(same.any())
    assert found[25, 5] > found[14, 8]
    # J = 41 / 71 of each pair: 1 - (1 - J^5)^25 = .81 and 1 - (1 - J^8)^14 = .16
    assert found[25, 5] / 300 == pytest.approx(0.81, abs=0.07)
    assert found[14, 8] / 300 == pytest.approx(0.16, abs=0.07)


def test_bands_agree_as_often_as_the_similarity_says() -> None:
    random = seeded(3)
    shared = 0
    for _ in range(200):
        text = words(random, 100)
        other = [*text[:95], *words(random, 5)]
        one, two = (bands_of(minima(windows(hashes_of(part), 5))) for part in (text, other))
        shared += int((one == two).sum())
    expected = (91 / 101) ** ROWS
    assert shared / (200 * BANDS) == pytest.approx(expected, abs=0.04)


@pytest.mark.parametrize("count", [8, 19, 20, 60])
def test_similarity_by_hashes_is_that_by_text(count: int) -> None:
    random = seeded(4)
    text = words(random, count)
    other = [*text[:-1], "other"]
    parts = [print_of(" ".join(part), "") for part in (text, other)]
    hashed = [frozenset(part_shingles(one.words, one.letters).tolist()) for one in parts]
    assert jaccard(*hashed) == pytest.approx(similarity(" ".join(text), " ".join(other)))
