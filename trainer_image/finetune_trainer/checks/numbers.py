"""Numbers that carry their own proof: cards (Luhn), accounts (mod 97), US social security."""

import re
from collections.abc import Iterator

from finetune_trainer.checks.hits import SPACED, Hit, holds
from finetune_trainer.checks.phones import DASHES, NOT_A_NUMBER_TO_CALL, SPACES, digits_of

_CARD = re.compile(
    rf"(?<![{SPACED}+-])(?<!\d[.,])\d(?:[{SPACES}{DASHES}]?\d){{12,60}}(?![{SPACED}-])(?!\.\d)"
)
_LEAST_DIGITS, _MOST_DIGITS = 13, 19
_FIRST_DIGITS = frozenset("23456")
_GROUP = re.compile(rf"[^{SPACES}]+")
_GROUPS = re.compile(
    rf"(?:\d{{4}}([{SPACES}{DASHES}])\d{{4}}\1\d{{4}}\1\d{{1,4}}(?:\1\d{{1,3}})?|"
    rf"\d{{4}}([{SPACES}{DASHES}])\d{{6}}\2\d{{4,5}})"
)
_CARD_WORDS = re.compile(
    r"\b(?:cards?|visa|mastercard|master|maestro|amex|american express|discover|diners|jcb|"
    r"unionpay|"
    r"credit|debit|cvv2?|cvc2?|cc|ccnum|pan|exp(?:iry|ires|\.)?|kredit\w*|karten?\w*|cartes?|"
    r"tarjetas?|"
    r"carta|cart[aã]o|kaart\w*|kort\w*|kart[aąyęu]?|credit_?card|card_?(?:number|no|"
    r"num))(?!_\d)\b|"
    r"creditcard|cardnumber|卡|カード|карт|카드|بطاقة|कार्ड|cardNo",
    re.IGNORECASE,
)
_CARD_LATER = re.compile(r"[\s,;(|/]{0,3}(?:exp|valid|cvv|cvc|gültig|ablauf|有效期)", re.IGNORECASE)
_ANOTHER = re.compile(r"\d{6}")
"""A number that the word before it means, not the one behind it."""
_REACH = 48
_IBAN = re.compile(
    r"(?<![A-Za-z0-9])(?:[A-Z]{2}[0-9]{2}|[a-z]{2}[0-9]{2})(?=[ \u00a0\u202f\n-]?[A-Za-z0-9]{4})"
)
_GOES_ON = re.compile(r"-?[A-Za-z0-9]")
_IBAN_LENGTHS = dict(  # noqa: C408
    AD=24, AE=23, AL=28, AT=20, AZ=28, BA=20, BE=16, BG=22, BH=22, BI=27, BR=29, BY=28, CH=21,
    CR=22,
    CY=28, CZ=24, DE=22, DJ=27, DK=18, DO=28, EE=20, EG=29, ES=24, FI=18, FK=18, FO=18, FR=27,
    GB=22,
    GE=22, GI=23, GL=18, GR=27, GT=28, HN=28, HR=21, HU=28, IE=22, IL=23, IQ=23, IS=26, IT=27,
    JO=30,
    KW=30, KZ=20, LB=28, LC=32, LI=21, LT=20, LU=20, LV=21, LY=25, MC=27, MD=24, ME=22, MK=19,
    MN=20,
    MR=27, MT=31, MU=30, NI=28, NL=18, NO=15, OM=23, PK=24, PL=28, PS=29, PT=25, QA=29, RO=24,
    RS=22,
    RU=33, SA=24, SC=31, SD=18, SE=24, SI=19, SK=24, SM=27, SO=23, ST=25, SV=28, TL=23, TN=24,
    TR=26,
    UA=29, VA=22, VG=24, XK=20, YE=30,
)  # fmt: skip
"""Characters of an account number of each country (SWIFT IBAN registry)."""
_SSN = re.compile(
    rf"(?<![{SPACED}{DASHES}])(?<!\d[.,])(?!000|666|9)\d{{3}}([{DASHES}{SPACES}]?)(?!00)\d{{2}}\1(?!0000)\d{{4}}"
    rf"(?![{SPACED}{DASHES}])(?![.,]\d)"
)
_SSN_WORDS = re.compile(
    r"\b(?:ssn|soc(?:ial)?[ ._-]?sec(?:urity)?|social)(?!_\d)(?![^\W\d_])", re.I
)
_SSN_PUBLISHED = frozenset({"078051120", "219099999", "123456789"})
"""Numbers that advertisements printed; they belong to nobody."""


def find_cards(text: str) -> list[Hit]:
    """Payment cards: a known issuer's prefix and length, and a right check digit (Luhn).

    One number in ten has a right check digit by accident, so digits that are not set in the
    groups of a card count only with a word near them that speaks of cards.
    """
    hits = []
    for found in _CARD.finditer(text):
        span = next((s for s in _pieces(found) if _is_card(text, *s)), None)
        if span is not None:
            hits.append(Hit("Card", *span))
    return hits


def find_ibans(text: str) -> list[Hit]:
    """Bank accounts (ISO 13616): the length of the country and a remainder of 1 by 97.

    A line may end within one, as on a printed page.
    """
    hits = []
    for found in _IBAN.finditer(text):
        end = _iban_end(text, found.start())
        if end is not None:
            hits.append(Hit("Iban", found.start(), end))
    return hits


def find_social_security(text: str) -> list[Hit]:
    """US social security numbers in the ranges that are given out.

    Those with dashes count unless a word makes them something else; those without count after
    a word that says what they are.
    """
    hits = []
    for found in _SSN.finditer(text):
        start, end = found.span()
        named = holds(_SSN_WORDS, text, start - 40, start)
        other = holds(NOT_A_NUMBER_TO_CALL, text, start - 24, start)
        dashed = bool(found[1]) and not found[1].isspace()
        if digits_of(found[0]) not in _SSN_PUBLISHED and (named or (dashed and not other)):
            hits.append(Hit("SocialSecurity", start, end))
    return hits


def _pieces(run: re.Match[str]) -> Iterator[tuple[int, int]]:
    """Where a card may begin and end in digits with spaces, which may hold other numbers too."""
    groups = [group.span() for group in _GROUP.finditer(run[0])]
    sizes = [sum(map(str.isdecimal, run[0][start:end])) for start, end in groups]
    for first, (start, _) in enumerate(groups):
        if digits_of(run[0][start]) not in _FIRST_DIGITS:
            continue
        ends, total = [], 0
        for (_, end), size in zip(groups[first:], sizes[first:], strict=True):
            total += size
            if total > _MOST_DIGITS:
                break
            if total >= _LEAST_DIGITS:
                ends.append(end)
        for end in reversed(ends):
            yield run.start() + start, run.start() + end


def _is_card(text: str, start: int, end: int) -> bool:
    value = text[start:end]
    digits = digits_of(value)
    if len(set(digits)) < 2 or not (_issued(digits) and _luhn(digits)):
        return False
    lead = text[max(0, start - _REACH) : start]
    words = list(_CARD_WORDS.finditer(lead))
    between = lead[words[-1].end() :] if words else lead[-24:]
    if NOT_A_NUMBER_TO_CALL.search(between) or (words and _ANOTHER.search(between)):
        return False
    return bool(words or _GROUPS.fullmatch(value) or _CARD_LATER.match(text, end))


def _issued(digits: str) -> bool:
    """Whether an issuer has this prefix and length (ISO/IEC 7812 ranges of the large ones)."""
    length, two, four = len(digits), int(digits[:2]), int(digits[:4])
    if digits[0] == "4":
        return length in (13, 16, 19)
    if 51 <= two <= 55 or 2221 <= four <= 2720 or 2200 <= four <= 2204:
        return length == 16
    if two in (34, 37):
        return length == 15
    if two in (36, 38, 39) or 300 <= int(digits[:3]) <= 305:
        return length in (14, 16)
    if four == 6011 or two in (62, 65) or 644 <= int(digits[:3]) <= 649 or 3528 <= four <= 3589:
        return 16 <= length <= 19
    return two in (50, 56, 57, 58, 67) and length == 16


def _luhn(digits: str) -> bool:
    doubled = (sum(divmod(2 * int(digit), 10)) for digit in digits[-2::-2])
    return (sum(doubled) + sum(int(digit) for digit in digits[-1::-2])) % 10 == 0


def _iban_end(text: str, start: int) -> int | None:
    """Where the account number that begins here ends, if it is one."""
    length = _IBAN_LENGTHS.get(text[start : start + 2].upper())
    if length is None:
        return None
    value, place, gap = "", start, False
    while len(value) < length and place < len(text):
        letter = text[place]
        if letter.isascii() and letter.isalnum():
            value, gap = value + letter, False
        elif gap or letter not in " \u00a0\u202f\n-":
            return None
        else:
            gap = True
        place += 1
    ended = _GOES_ON.match(text, place) is None
    return place if len(value) == length and ended and _mod97(value) else None


def _mod97(value: str) -> bool:
    if value != value.upper() and value != value.lower():
        return False
    return int("".join(str(int(letter, 36)) for letter in value[4:] + value[:4])) % 97 == 1
