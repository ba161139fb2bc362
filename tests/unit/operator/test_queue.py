"""The work queue: one worker for a key, deduplicated, backed off, several keys at once."""

import asyncio
import itertools
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager

from finetune_operator.kinds import Key
from finetune_operator.queue import WorkQueue

A, B = ("ns", "a"), ("ns", "b")
Work = Callable[[Key], Awaitable[float | None]]


@asynccontextmanager
async def running(work: Work, *, workers: int = 4) -> AsyncIterator[WorkQueue]:
    queue = WorkQueue(work, first_backoff=0.01, jitter=lambda: 1.0)
    task = asyncio.create_task(queue.run(workers))
    yield queue
    task.cancel()


async def until(probe: Callable[[], bool]) -> None:
    async with asyncio.timeout(5):
        while not probe():  # noqa: ASYNC110 - state of plain objects
            await asyncio.sleep(0.005)


async def test_a_key_added_often_runs_once_and_once_more_if_added_meanwhile() -> None:
    runs: list[Key] = []
    go = asyncio.Event()

    async def work(key: Key) -> None:
        runs.append(key)
        await go.wait()

    async with running(work) as queue:
        for _ in range(5):
            queue.add(A)
        await until(lambda: len(runs) == 1)
        for _ in range(5):
            queue.add(A)
        assert len(queue) == 0
        go.set()
        await until(lambda: len(runs) == 2)
        await asyncio.sleep(0.02)
        assert runs == [A, A]


async def test_one_key_never_runs_twice_at_once_and_two_keys_do() -> None:
    active: set[Key] = set()
    most = 0

    async def work(key: Key) -> float | None:
        nonlocal most
        assert key not in active
        active.add(key)
        most = max(most, len(active))
        await asyncio.sleep(0.01)
        active.discard(key)
        return 0.001

    async with running(work) as queue:
        queue.add(A)
        queue.add(B)
        for _ in range(10):
            queue.add(A)
            await asyncio.sleep(0.005)
        await until(lambda: most == 2)


async def test_no_more_keys_at_once_than_workers() -> None:
    active = most = done = 0

    async def work(_: Key) -> None:
        nonlocal active, most, done
        active += 1
        most = max(most, active)
        await asyncio.sleep(0.002)
        active -= 1
        done += 1

    async with running(work, workers=3) as queue:
        for index in range(20):
            queue.add(("ns", str(index)))
        await until(lambda: done == 20)
    assert most == 3


async def test_failures_back_off_exponentially_and_a_success_resets() -> None:
    times: list[float] = []

    async def work(_: Key) -> None:
        times.append(asyncio.get_running_loop().time())
        if len(times) < 5:
            raise OSError("no answer")

    async with running(work) as queue:
        queue.add(A)
        await until(lambda: len(times) == 5)
    gaps = [later - sooner for sooner, later in itertools.pairwise(times)]
    assert all(gap >= 0.01 * 2**index for index, gap in enumerate(gaps))


async def test_a_requested_time_is_kept_and_the_sooner_of_two_wins() -> None:
    runs = 0

    async def work(_: Key) -> None:
        nonlocal runs
        runs += 1

    async with running(work) as queue:
        queue.add_after(A, 30)
        queue.add_after(A, 0.01)
        queue.add_after(A, 60)
        await until(lambda: runs == 1)


async def test_work_that_hangs_is_noticed() -> None:
    now = 0.0

    async def work(_: Key) -> None:
        await asyncio.Event().wait()

    queue = WorkQueue(work, clock=lambda: now)
    task = asyncio.create_task(queue.run(1))
    queue.add(A)
    await asyncio.sleep(0.01)
    now = 200.0
    assert queue.oldest_running_seconds() == 200.0
    task.cancel()
