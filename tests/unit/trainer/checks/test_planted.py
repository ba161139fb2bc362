"""The targets of the checks, on a small corpus of planted faults."""

import pytest

from benchmarks.checks import planted
from benchmarks.checks.planted import Measured

ROWS = 2_000
SEED = 7
LEAST = {"Email": 0.95, "Phone": 0.95, "Card": 0.95, "Iban": 0.95, "SocialSecurity": 0.95,
         "IpAddress": 0.95, "Secret": 0.95}  # fmt: skip


@pytest.fixture(scope="module")
def personal() -> dict[str, Measured]:
    return {one.check: one for one in planted.personal_and_secrets(ROWS, SEED)}


@pytest.mark.parametrize("kind", LEAST)
def test_planted_values_are_found(personal: dict[str, Measured], kind: str) -> None:
    assert personal[kind].recall >= LEAST[kind]
    assert personal[kind].precision >= 0.95


@pytest.mark.parametrize("kind", ["Secret", "Card", "Iban", "Email"])
def test_clean_rows_hold_none(personal: dict[str, Measured], kind: str) -> None:
    assert personal[kind].false == 0


def test_near_duplicates_are_found_and_nothing_else() -> None:
    measured = planted.duplicates(ROWS, SEED)
    assert measured.planted > 100
    assert measured.recall >= 0.97
    assert measured.false == 0


def test_leaked_questions_are_found_and_nothing_else() -> None:
    measured = planted.overlap(ROWS, SEED)
    assert measured.planted > 80
    assert measured.recall >= 0.9
    assert measured.false == 0
