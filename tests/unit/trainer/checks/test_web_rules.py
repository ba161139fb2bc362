import pytest
from finetune_trainer.checks.web_rules import broken_rules, repetition

from benchmarks.checks.prose import seeded, words

_RANDOM = seeded(1)
PROSE = "\n".join(
    f"The {' '.join(words(_RANDOM, 12))} and {' '.join(words(_RANDOM, 6))} of that."
    for _ in range(12)
)


def test_prose_breaks_no_rule() -> None:
    assert broken_rules(PROSE) == []


@pytest.mark.parametrize(
    ("text", "rule"),
    [
        ("Too short.", "FewWords"),
        ("a b c d e " * 20, "WordLength"),
        (PROSE + " #" * 60, "Symbols"),
        ("\n".join("- " + line for line in PROSE.splitlines()), "Bullets"),
        ("\n".join(line + "..." for line in PROSE.splitlines()), "EllipsisLines"),
        (PROSE + " 12" * 200, "NotAlphabetic"),
        (PROSE.replace("The", "Der").replace("and", "und").replace("of that", "fern"), "StopWords"),
        (PROSE.replace(".", ""), "NoTerminalPunctuation"),
        (PROSE.replace(".", ""), "FewSentences"),
        (PROSE.replace(".", ""), "LinePunctuation"),
        (PROSE.replace(" ", "\n"), "ShortLines"),
        (PROSE.replace(" ", "\n"), "ShortCharacterLines"),
        (PROSE.replace(" ", "\n"), "Newlines"),
        (PROSE + "{", "CurlyBracket"),
        (PROSE + "Lorem ipsum", "LoremIpsum"),
        (PROSE + "Please enable JavaScript.", "JavaScript"),
        (PROSE + "x" * 1_001, "LongWord"),
        (PROSE + "\n" + PROSE.splitlines()[0], "DuplicateCharacters"),
        ("it is " * 50_001, "ManyWords"),
    ],
)
def test_a_rule_names_what_breaks_it(text: str, rule: str) -> None:
    assert rule in broken_rules(text)


@pytest.mark.parametrize(
    ("text", "rule"),
    [
        (PROSE + "\n" + PROSE, "DuplicateLines"),
        ("\n\n".join([PROSE] * 3), "DuplicateParagraphs"),
        (PROSE + "\n" + PROSE, "DuplicateLineCharacters"),
        ("\n\n".join([PROSE] * 3), "DuplicateParagraphCharacters"),
        (PROSE + " very good" * 60, "Top2Gram"),
        (PROSE + " very very good" * 60, "Top3Gram"),
        (PROSE + " it is very good" * 60, "Top4Gram"),
        (PROSE + " one two three four five six seven eight nine ten" * 9, "Duplicate5Gram"),
        (PROSE + " one two three four five six seven eight nine ten" * 9, "Duplicate10Gram"),
    ],
)
def test_repetition_is_named(text: str, rule: str) -> None:
    assert rule in repetition(text)


def test_a_short_text_repeats_nothing() -> None:
    assert repetition("Yes.") == repetition("") == repetition("今天天气很好") == []
