"""Many pieces of work on a few threads."""

import threading
from collections.abc import Callable

import pytest
from finetune_trainer.storage.pool import Stopped, work_off


def nothing() -> None:
    """A tick that looks at nothing."""


def test_each_task_is_done_once() -> None:
    done: list[int] = []

    def task(number: int) -> Callable[[threading.Event], None]:
        return lambda _: done.append(number)

    work_off([task(number) for number in range(50)], 4, nothing)

    assert sorted(done) == list(range(50))


def test_no_work_is_done_at_once() -> None:
    work_off([], 4, lambda: pytest.fail("nothing to wait for"))


def test_the_first_error_ends_the_others_and_is_raised() -> None:
    noticed = threading.Event()
    waiting = threading.Event()

    def fail(_: threading.Event) -> None:
        waiting.wait()
        raise ValueError("first")

    def work(stop: threading.Event) -> None:
        waiting.set()
        stop.wait()
        noticed.set()
        raise Stopped

    with pytest.raises(ValueError, match="first"):
        work_off([fail, work], 2, nothing)

    assert noticed.is_set()


def test_a_caller_that_gives_up_does_not_wait_for_a_task_that_hangs() -> None:
    release = threading.Event()

    def hang(_: threading.Event) -> None:
        release.wait()

    def give_up() -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        work_off([hang, hang], 2, give_up)

    release.set()
