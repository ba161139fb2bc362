import pytest
from finetune_trainer.checks.personal import find_personal


def found(text: str) -> list[tuple[str, str]]:
    return [(hit.kind, text[hit.start : hit.end]) for hit in find_personal(text)]


@pytest.mark.parametrize(
    ("text", "kind", "value"),
    [
        ("Write to jane.doe@acme.co.uk.", "Email", "jane.doe@acme.co.uk"),
        ("mail <o'neil+x@bücher.ch>", "Email", "o'neil+x@bücher.ch"),
        ("jane [at] acme [dot] com", "Email", "jane [at] acme [dot] com"),
        ("call +49 (0)30 1234-567 now", "Phone", "+49 (0)30 1234-567"),
        ("手机：13812345678。", "Phone", "13812345678"),
        ("Tel.: 0761/432156", "Phone", "0761/432156"),
        ("charge 4111 1111 1111 1111 please", "Card", "4111 1111 1111 1111"),
        ("Amex 3782-822463-10005", "Card", "3782-822463-10005"),
        ("DE89 3704 0044 0532 0130 00 bei der Bank", "Iban", "DE89 3704 0044 0532 0130 00"),
        ("gb82west12345698765432", "Iban", "gb82west12345698765432"),
        ("SSN 536 22 1234", "SocialSecurity", "536 22 1234"),
        ("login from 8.8.8.8 failed", "IpAddress", "8.8.8.8"),
        ("host 2606:4700:4700::1111,", "IpAddress", "2606:4700:4700::1111"),
    ],
)
def test_a_value_is_found_as_a_whole(text: str, kind: str, value: str) -> None:
    assert found(text) == [(kind, value)]


@pytest.mark.parametrize(
    "text",
    [
        "info@example.com, a@b.test and x@y.localhost are for examples",
        "git@github.com:team/project.git and 12+bob@users.noreply.github.com",
        "icon@2x.png, lodash@4.17.21, y = x@self.w.T, @pytest.fixture",
        "redis://svc:pa55@cache.acme.io holds a password, no address",
        "call 212-555-0147, a number of fiction",
        "Order no. 4111-1111-1111-1111",
        "card 4111 1111 1111 1112 has a wrong check digit",
        "the row has 4111111111111111 in it",
        "DE88 3704 0044 0532 0130 00",
        "part no. 536-22-1234 and 078-05-1120",
        "version 8.4.120.4, foo==91.4.120.4, section 4.1.2.3, Chrome/120.0.0.0",
        "192.168.1.7, 203.0.113.9, 2001:db8::1, fe80::1, std::a::b, 12:30:45",
        "978-3-16-148410-0, 550e8400-e29b-41d4-a716-446655440000, 1700000000",
        "the phone costs 1.299.000,00 and the years 1999-2004",
        "call us about order 48291734",
        "+1 234 567 890 €",
    ],
)
def test_what_only_looks_like_a_value_is_none(text: str) -> None:
    assert found(text) == []


@pytest.mark.parametrize(
    ("text", "kind", "value"),
    [
        ("telephone +44 1632\n960 533.", "Phone", "+44 1632\n960 533"),
        ("telephone +44\n20 7946 0133.\n11. Term", "Phone", "+44\n20 7946 0133"),
        ("desk, +44 20 7946\n0110\n2025 was a year", "Phone", "+44 20 7946\n0110"),
        ("+49 (0)30 23125\n417 units", "Phone", "+49 (0)30 23125\n417"),
        ("Tel. +44 20 7946 0110\n12 doors", "Phone", "+44 20 7946 0110"),
        ("Tel. +44 20 7946 0110\n2025", "Phone", "+44 20 7946 0110"),
        ("to DE89 3704 0044\n0532 0130 00 by", "Iban", "DE89 3704 0044\n0532 0130 00"),
        ("to DE89\n3704 0044 0532 0130 00 by", "Iban", "DE89\n3704 0044 0532 0130 00"),
    ],
)
def test_a_line_may_end_within_a_number(text: str, kind: str, value: str) -> None:
    assert found(text) == [(kind, value)]


@pytest.mark.parametrize(
    "text", ["from -20 to +45\n2025 and 1200", "+44 20\n1. One\n2. Two", "growth of +12\n345 678"]
)
def test_lines_that_begin_with_numbers_are_none(text: str) -> None:
    assert found(text) == []


def test_a_second_number_needs_no_word_of_its_own() -> None:
    assert [kind for kind, _ in found("Phone: 415-234-5678 or 415-234-5679")] == ["Phone"] * 2


def test_the_time_grows_with_the_length_of_a_text_alone() -> None:
    for text in (
        "a" * 200_000 + "@",
        "1" * 200_000,
        "1-" * 100_000,
        "a@" * 100_000,
        "a at " * 40_000,
    ):
        assert find_personal(text) == []
