"""When and how long to wait before the same request is sent again."""

import random
from collections.abc import Callable
from typing import TypeVar

from finetune_api.errors import InfrastructureError

ATTEMPTS = 8
"""Tries of one request before its error is final: half a minute on average."""
BASE_SECONDS = 0.5
LONGEST_SECONDS = 20.0

Result = TypeVar("Result")


def backoff(failures: int, draw: Callable[[], float] = random.random) -> float:
    """Seconds to wait after `failures` failures in a row, at least one.

    Exponential with full jitter, so that the many readers which a busy store turned away at once
    do not come back at once: uniform in [0, min(longest, base * 2^(failures - 1))]
    (M. Brooker, "Exponential Backoff And Jitter", AWS Architecture Blog, 2015).

    Args:
        draw: a random number in [0, 1).
    """
    return draw() * min(LONGEST_SECONDS, BASE_SECONDS * 2.0 ** (failures - 1))


def retrying(work: Callable[[], Result], pause: Callable[[float], object]) -> Result:
    """The result of `work`, tried again after each InfrastructureError, ATTEMPTS times in all.

    Whatever else it raises (wrong keys, a missing object, another version) is final: asking
    again would not change it.

    Args:
        pause: waits the given seconds; it may raise to give up.
    """
    for failures in range(1, ATTEMPTS):
        try:
            return work()
        except InfrastructureError:
            pause(backoff(failures))
    return work()
