"""Outcomes, exit codes, reasons and errors agree."""

import pytest
from finetune_api import errors
from finetune_api.exits import ExitCode, Outcome, exit_code, is_counted, outcome_of
from finetune_api.reasons import REMEDIES, Reason, remedy


@pytest.mark.parametrize("outcome", Outcome)
def test_every_outcome_has_an_exit_code_that_tells_it(outcome: Outcome) -> None:
    assert outcome_of(exit_code(outcome)) is outcome


def test_every_exit_code_tells_one_outcome() -> None:
    assert len({outcome_of(code) for code in ExitCode}) == len(ExitCode) == len(Outcome)


@pytest.mark.parametrize("code", [1, 2, 66, 127, 128 + 9, 128 + 15, -9, 255])
def test_a_signal_or_unknown_code_is_internal_and_counted(code: int) -> None:
    assert outcome_of(code) is Outcome.INTERNAL
    assert is_counted(outcome_of(code))


def test_only_faults_that_may_pass_use_up_an_attempt() -> None:
    counted = {outcome for outcome in Outcome if is_counted(outcome)}
    assert counted == {Outcome.OUT_OF_MEMORY, Outcome.INFRASTRUCTURE, Outcome.INTERNAL}


@pytest.mark.parametrize("reason", Reason)
def test_every_reason_says_what_to_do_in_a_sentence(reason: Reason) -> None:
    assert remedy(reason).endswith(".")
    assert reason.isidentifier()
    assert reason[0].isupper()


def test_there_is_no_remedy_without_a_reason() -> None:
    assert set(REMEDIES) == set(Reason)


def test_every_error_ends_in_an_outcome_and_shows_where() -> None:
    kinds = errors.FineTuneError.__subclasses__()
    assert {kind.outcome for kind in kinds} == set(Outcome) - {Outcome.DONE}
    error = errors.UserError(Reason.INVALID_DATA, "no response", where="rows.jsonl:7")
    assert str(error) == "rows.jsonl:7: no response"
    assert str(errors.UserError(Reason.INVALID_DATA, "no rows")) == "no rows"
