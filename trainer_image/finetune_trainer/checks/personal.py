"""Personal data in a text."""

import re

from finetune_trainer.checks.addresses import find_ip_addresses
from finetune_trainer.checks.emails import find_emails
from finetune_trainer.checks.hits import Hit, without_overlaps
from finetune_trainer.checks.numbers import find_cards, find_ibans, find_social_security
from finetune_trainer.checks.phones import find_phones
from finetune_trainer.checks.wrapped_phones import find_wrapped_phones

_NUMBER = re.compile(r"\d\W{0,3}\d\W{0,3}\d\W{0,3}\d\W{0,3}\d\W{0,3}\d\W{0,3}\d")
"""Seven digits near each other: the least that a number of a person has."""
_BLANK = "\ufffc"
"""A character that is part of no value."""
_ACCOUNT = re.compile(r"[A-Za-z]{2}\d\d[ \u00a0\u202f\n-]?[A-Za-z0-9]{4}")


def find_personal(text: str) -> list[Hit]:
    """Email, Phone, Card, Iban, SocialSecurity and IpAddress, in the order of the text.

    Each kind's own module says what it takes and what it misses. Text without an @, without
    seven digits near each other and without colons or dots between digits costs one look.
    """
    hits = find_emails(text)
    hits += find_ip_addresses(text)
    if _ACCOUNT.search(text):
        hits += find_ibans(text)
    if _NUMBER.search(text):
        # What is sure goes first, so that its digits join no telephone number beside it.
        hits += find_cards(_without(text, hits))
        hits += find_social_security(_without(text, hits))
        hits += find_wrapped_phones(_without(text, hits))
        hits += find_phones(_without(text, hits))
    return without_overlaps(hits) if len(hits) > 1 else hits


def _without(text: str, hits: list[Hit]) -> str:
    """The text with what was found blanked out; all places stay."""
    parts, place = [], 0
    for hit in without_overlaps(hits):
        parts += [text[place : hit.start], _BLANK * (hit.end - hit.start)]
        place = hit.end
    return "".join([*parts, text[place:]])
