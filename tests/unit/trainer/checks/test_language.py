import pytest
from finetune_trainer.checks.language import language_of

GERMAN = "Wie lange gilt die Garantie für das Gerät, und wer bezahlt den Versand?"


@pytest.mark.parametrize(
    ("text", "code"),
    [
        (GERMAN, "de"),
        ("The pump stops when the pressure falls below the limit that is set.", "en"),
        ("La pompe s'arrête quand la pression descend sous la limite réglée.", "fr"),
        ("请问这个产品的保修期是多长时间？谁来支付运费？", "zh"),
    ],
)
def test_a_sentence_has_its_language(text: str, code: str) -> None:
    language = language_of(text)
    assert language.code == code
    assert language.probability >= 0.65


@pytest.mark.parametrize("text", ["", "ok", "Grazie mille", "12 345 " * 20, "https://a.io/" * 9])
def test_what_is_short_or_no_prose_is_undetermined(text: str) -> None:
    assert language_of(text).code == "und"


def test_code_in_a_text_does_not_count() -> None:
    code = "for item in items:\n    print(item.name, end='')\nreturn None\n" * 20
    assert language_of(f"{GERMAN}\n```python\n{code}```").code == "de"


def test_a_long_text_costs_no_more_than_a_sample() -> None:
    assert language_of(GERMAN * 50_000).code == "de"
