"""The work queue: each key once, one worker at a time for a key, several keys at once."""

import asyncio
import heapq
import itertools
import logging
import random
from collections import OrderedDict
from collections.abc import Awaitable, Callable

from finetune_operator.kinds import Key
from finetune_operator.log import fields

logger = logging.getLogger(__name__)

MAX_BACKOFF_SECONDS = 60.0

Work = Callable[[Key], Awaitable[float | None]]
"""Reconciles a key; returns the seconds after which to do it again, or None."""


class WorkQueue:
    """Deduplicating queue with delays and jittered exponential backoff.

    A key added while it is worked on runs once more afterwards. Call only from one event loop.
    """

    def __init__(
        self,
        work: Work,
        *,
        first_backoff: float = 0.5,
        clock: Callable[[], float] | None = None,
        jitter: Callable[[], float] = random.random,
    ) -> None:
        self._work = work
        self._first_backoff = first_backoff
        self._clock = clock or asyncio.get_running_loop().time
        self._jitter = jitter
        self._ready: OrderedDict[Key, None] = OrderedDict()
        self._running: dict[Key, float] = {}
        self._again: set[Key] = set()
        self._delayed: list[tuple[float, int, Key]] = []
        self._due: dict[Key, float] = {}
        self._order = itertools.count()
        self._failures: dict[Key, int] = {}
        self._wake = asyncio.Event()

    def __len__(self) -> int:
        """Keys that wait for a worker now."""
        return len(self._ready)

    def oldest_running_seconds(self) -> float:
        """How long the longest work in progress takes so far."""
        return max((self._clock() - began for began in self._running.values()), default=0.0)

    def add(self, key: Key) -> None:
        """Work on `key` soon."""
        if key in self._running:
            self._again.add(key)
        else:
            self._ready[key] = None
            self._wake.set()

    def add_after(self, key: Key, seconds: float) -> None:
        """Work on `key` in `seconds`; an earlier time that is already set stays."""
        due = self._clock() + max(seconds, 0.0)
        if self._due.get(key, float("inf")) <= due:
            return
        self._due[key] = due
        heapq.heappush(self._delayed, (due, next(self._order), key))
        self._wake.set()

    async def run(self, workers: int) -> None:
        """Work until cancelled."""
        slots = asyncio.Semaphore(workers)
        async with asyncio.TaskGroup() as tasks:
            while True:
                await slots.acquire()
                key = await self._next()
                self._running[key] = self._clock()
                tasks.create_task(self._work_on(key, slots))

    async def _next(self) -> Key:
        while True:
            wait = self._move_due()
            if self._ready:
                return self._ready.popitem(last=False)[0]
            self._wake.clear()
            try:
                async with asyncio.timeout(wait):
                    await self._wake.wait()
            except TimeoutError:
                continue

    def _move_due(self) -> float | None:
        now = self._clock()
        while self._delayed:
            due, _, key = self._delayed[0]
            if due > now:
                return due - now
            heapq.heappop(self._delayed)
            if self._due.get(key) == due:
                del self._due[key]
                self.add(key)
        return None

    async def _work_on(self, key: Key, slots: asyncio.Semaphore) -> None:
        try:
            again_after = await self._work(key)
            self._failures.pop(key, None)
            if again_after is not None:
                self.add_after(key, again_after)
        except Exception as error:  # noqa: BLE001 - the one edge: any failure is tried again
            self._retry(key, error)
        finally:
            del self._running[key]
            slots.release()
            if key in self._again:
                self._again.discard(key)
                self.add(key)

    def _retry(self, key: Key, error: Exception) -> None:
        failures = self._failures.get(key, 0)
        self._failures[key] = failures + 1
        ceiling = min(self._first_backoff * 2**failures, MAX_BACKOFF_SECONDS)
        delay = ceiling * (0.5 + 0.5 * self._jitter())
        logger.warning(
            "reconcile failed, will be tried again",
            exc_info=error,
            extra=fields(job="/".join(key), delaySeconds=round(delay, 2), failures=failures + 1),
        )
        self.add_after(key, delay)
