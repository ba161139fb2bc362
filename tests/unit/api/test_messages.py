"""Termination messages fit into Kubernetes' 4,096 bytes and can be read again."""

from typing import Any, TypeVar

import pytest
from finetune_api.exits import Outcome
from finetune_api.messages import (
    MAX_MESSAGE_BYTES,
    LaunchMessage,
    PrepareMessage,
    TerminationMessage,
    decode,
    encode,
)
from finetune_api.reasons import Reason
from finetune_api.spec import Adapter
from finetune_api.status import (
    DataStatus,
    EvaluationStatus,
    Measurement,
    OutputStatus,
    PreparedStatus,
    RowError,
)
from hypothesis import given
from hypothesis import strategies as st

ASCII = st.sampled_from("abc/-_7")
ANY = st.characters(exclude_categories=["Cs"])
T = TypeVar("T")
DIGEST = st.sampled_from(["0" * 64, "f" * 64])


def long_text(limit: int, characters: st.SearchStrategy[str] = ANY) -> st.SearchStrategy[str]:
    """Texts of any length up to the limit; long ones are as likely as short ones."""
    return st.builds(lambda text, n: (text * n)[:n], st.text(characters, min_size=1, max_size=5),
                     st.integers(0, limit))  # fmt: skip


def made(kind: type[T], **parts: st.SearchStrategy[Any]) -> st.SearchStrategy[T]:
    """Objects of a kind; `st.builds` alone would read the wire names off its signature."""
    return st.fixed_dictionaries(parts).map(lambda values: kind(**values))


def optional(strategy: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    return st.none() | strategy


def outputs(characters: st.SearchStrategy[str] = ANY) -> st.SearchStrategy[OutputStatus]:
    return made(
        OutputStatus,
        uri=long_text(1200, characters),
        manifest_sha256=DIGEST,
        base_model=long_text(1024, characters),
    )


def prepareds(characters: st.SearchStrategy[str] = ANY) -> st.SearchStrategy[PreparedStatus]:
    return made(
        PreparedStatus, uri=long_text(1200, characters), data_hash=DIGEST, recipe_hash=DIGEST
    )


MEASUREMENTS = made(Measurement, cross_entropy=st.just("1.25"), answer=optional(long_text(512)))
EVALUATIONS = made(
    EvaluationStatus,
    question=optional(long_text(512)),
    before=optional(MEASUREMENTS),
    after=optional(MEASUREMENTS),
)
ROW_ERRORS = made(
    RowError,
    file=long_text(1024),
    row=st.integers(0, 10**9),
    field=optional(long_text(128)),
    message=long_text(256),
)
DATA = made(
    DataStatus,
    rows=st.integers(0, 10**12),
    report_uri=optional(long_text(1200)),
    first_errors=optional(st.lists(ROW_ERRORS, max_size=20)),
)
COMMON: dict[str, st.SearchStrategy[Any]] = {
    "outcome": st.sampled_from(Outcome),
    "reason": st.sampled_from(Reason),
    "message": long_text(2048),
    "where": optional(long_text(512)),
}
TARGETS = st.lists(st.sampled_from(["q_proj", "é" * 256]), min_size=1, max_size=64)
ADAPTERS = made(Adapter, target_modules=TARGETS)
PREPARE = made(
    PrepareMessage,
    **COMMON,
    prepared=optional(prepareds()),
    adapter=optional(ADAPTERS),
    data=optional(DATA),
    adopted=optional(outputs()),
    adopted_evaluation=optional(EVALUATIONS),
)
LAUNCH = made(
    LaunchMessage,
    **COMMON,
    output=optional(outputs()),
    evaluation=optional(EVALUATIONS),
    last_step=optional(st.integers(0, 10**9)),
    recipe_hash=optional(DIGEST),
)


@given(PREPARE | LAUNCH)
def test_any_message_fits_and_keeps_outcome_and_reason(message: TerminationMessage) -> None:
    text = encode(message)
    assert len(text) <= MAX_MESSAGE_BYTES
    read = decode(type(message), text.decode())
    assert read is not None
    assert (read.outcome, read.reason) == (message.outcome, message.reason)
    assert message.message.startswith(read.message)


@given(
    made(LaunchMessage, **COMMON, output=outputs(ASCII), evaluation=optional(EVALUATIONS)),
    made(
        PrepareMessage,
        **COMMON,
        prepared=prepareds(ASCII),
        adapter=optional(ADAPTERS),
        adopted=optional(outputs(ASCII)),
        data=optional(DATA),
    ),
)
def test_what_the_operator_acts_on_survives_the_longest_texts(
    launch: LaunchMessage, prepare: PrepareMessage
) -> None:
    told = decode(LaunchMessage, encode(launch).decode())
    assert told is not None
    assert told.output == launch.output
    found = decode(PrepareMessage, encode(prepare).decode())
    assert found is not None
    assert (found.prepared, found.adopted) == (prepare.prepared, prepare.adopted)


def test_a_message_that_fits_is_not_cut() -> None:
    message = PrepareMessage(
        outcome=Outcome.USER_ERROR,
        reason=Reason.INVALID_DATA,
        message="3 rows have no response",
        where="s3://data/rows.jsonl:7",
        data=DataStatus(rows=10, first_errors=[RowError(file="f", row=7, message="no response")]),
    )
    assert decode(PrepareMessage, encode(message).decode()) == message


def test_row_errors_are_cut_before_anything_else() -> None:
    error = RowError(file="s3://data/rows.jsonl", row=1, message="x" * 200)
    message = PrepareMessage(
        outcome=Outcome.USER_ERROR,
        reason=Reason.INVALID_DATA,
        message="20 rows at fault",
        data=DataStatus(rows=0, dropped=20, report_uri="s3://b/r.json", first_errors=[error] * 20),
    )
    read = decode(PrepareMessage, encode(message).decode())
    assert read is not None
    assert read.data is not None
    assert (read.data.dropped, read.data.report_uri) == (20, "s3://b/r.json")
    assert read.data.first_errors == [error] * 3


@pytest.mark.parametrize(
    "text",
    [
        "",
        "Traceback (most recent call last):\n  ...",
        "[]",
        "null",
        "{}",
        '{"outcome": "Done"}',
        '{"outcome": "Done", "reason": "NoSuchReason"}',
        '{"outcome": "Done", "reason": "Published", "extra": 1}',
        '{"outcome": "Done", "reason": "Published", "message": "\\ud800"}',
        "[" * 100_000,
    ],
)
def test_a_log_tail_is_no_message(text: str) -> None:
    assert decode(LaunchMessage, text) is None
