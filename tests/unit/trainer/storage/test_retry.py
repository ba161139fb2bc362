"""When a request is sent again, and how long that waits."""

import pytest
from finetune_api.errors import InfrastructureError, UserError
from finetune_api.reasons import Reason
from finetune_trainer.storage.retry import (
    ATTEMPTS,
    BASE_SECONDS,
    LONGEST_SECONDS,
    backoff,
    retrying,
)

AWAY = InfrastructureError(Reason.STORAGE_UNAVAILABLE, "away")


def test_waits_double_up_to_a_limit_and_are_spread_over_all_of_it() -> None:
    longest = [backoff(failures, lambda: 1.0) for failures in range(1, 12)]

    assert longest[:3] == [BASE_SECONDS, 2 * BASE_SECONDS, 4 * BASE_SECONDS]
    assert longest[-1] == LONGEST_SECONDS
    assert backoff(3, lambda: 0.0) == 0.0
    assert backoff(3, lambda: 0.25) == BASE_SECONDS


@pytest.mark.parametrize("failures", [0, 1, ATTEMPTS - 1])
def test_work_that_comes_through_in_time_gives_its_result(failures: int) -> None:
    errors, waits = [AWAY] * failures, list[float]()

    def work() -> str:
        if errors:
            raise errors.pop()
        return "done"

    assert retrying(work, waits.append) == "done"
    assert len(waits) == failures


def test_work_that_keeps_failing_raises_its_last_error() -> None:
    tries = list[int]()

    def work() -> None:
        tries.append(1)
        raise AWAY

    with pytest.raises(InfrastructureError) as caught:
        retrying(work, lambda _: None)

    assert caught.value is AWAY
    assert len(tries) == ATTEMPTS


def test_a_mistake_of_the_user_is_not_repeated() -> None:
    def work() -> None:
        raise UserError(Reason.STORAGE_DENIED, "wrong key")

    with pytest.raises(UserError):
        retrying(work, lambda _: pytest.fail("waited"))
