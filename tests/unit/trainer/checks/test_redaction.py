from finetune_trainer.checks.hits import Hit
from finetune_trainer.checks.personal import find_personal
from finetune_trainer.checks.redaction import redact
from finetune_trainer.checks.secrets import find_secrets

from benchmarks.checks.clean import clean_row
from benchmarks.checks.faults import KINDS
from benchmarks.checks.prose import seeded


def everything(text: str) -> list[Hit]:
    return find_personal(text) + find_secrets(text)


def test_the_same_value_has_the_same_placeholder_in_all_texts_of_a_unit() -> None:
    texts, counts = redact(
        ["Ask Jane.Doe@acme.io or k@acme.io", "jane.doe@acme.io: tel. 030 1234567"], find_personal
    )
    assert texts == ["Ask [EMAIL_1] or [EMAIL_2]", "[EMAIL_1]: tel. [PHONE_1]"]
    assert counts == {"Email": 3, "Phone": 1}


def test_numbers_are_the_same_whatever_stands_between_their_digits() -> None:
    texts, _ = redact(["DE89370400440532013000", "DE89 3704 0044 0532 0130 00"], find_personal)
    assert texts == ["[IBAN_1]", "[IBAN_1]"]


def test_addresses_that_differ_by_a_dot_are_two() -> None:
    assert redact(["a.b@acme.io ab@acme.io"], find_personal)[0] == ["[EMAIL_1] [EMAIL_2]"]


def test_of_hits_that_overlap_the_longest_counts() -> None:
    hits = [Hit("Short", 2, 5), Hit("IpAddress", 0, 4), Hit("Phone", 5, 6)]
    texts, _ = redact(["abcdefg"], lambda text: hits if text == "abcdefg" else [])
    assert texts == ["[IP_ADDRESS_1]e[PHONE_1]g"]


def test_numbers_go_on_above_those_of_placeholders_that_are_there() -> None:
    assert redact(["[EMAIL_3] k@acme.io"], find_personal)[0] == ["[EMAIL_3] [EMAIL_4]"]


def test_a_second_run_changes_nothing() -> None:
    random = seeded(5)
    for _ in range(400):
        parts = [frame.format(value) for frame, value in (make(random) for make in KINDS.values())]
        once, _ = redact([" ".join(parts), clean_row(random)], everything)
        twice, counts = redact(once, everything)
        assert (twice, dict(counts)) == (once, {})
