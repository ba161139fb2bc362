"""Does many pieces of work on a few threads, and lets go at once when asked to stop."""

import threading
import time
from collections import deque
from collections.abc import Callable, Sequence

Task = Callable[[threading.Event], object]
"""A piece of work; it looks at the event between its steps and raises `Stopped` when set."""

TICK_SECONDS = 0.2
"""Between two looks at how things stand."""
_PARTING_SECONDS = 0.5
"""What threads get, all together, to notice that they are not needed any more."""


class Stopped(Exception):
    """Another task failed, or the caller has given up."""


def work_off(tasks: Sequence[Task], threads: int, tick: Callable[[], None]) -> None:
    """Do all `tasks`, calling `tick` in this thread several times a second.

    The first error, of a task or of `tick`, ends the rest and is raised. Threads are daemons: one
    that hangs in a read from a silent server cannot hold up a process that was asked to stop.
    """
    crew = _Crew(tasks)
    workers = [
        threading.Thread(target=crew.work, name=f"transfer-{number}", daemon=True)
        for number in range(min(threads, len(tasks)))
    ]
    try:
        for worker in workers:
            worker.start()
        while not crew.finished.wait(TICK_SECONDS):
            tick()
    finally:
        crew.stop.set()
        _part_with(workers)
    if crew.errors:
        raise crew.errors[0]


def _part_with(workers: Sequence[threading.Thread]) -> None:
    until = time.monotonic() + _PARTING_SECONDS
    for worker in workers:
        if worker.ident is not None:
            worker.join(max(0.0, until - time.monotonic()))


class _Crew:
    """What the threads share."""

    def __init__(self, tasks: Sequence[Task]) -> None:
        self.stop = threading.Event()
        self.finished = threading.Event()
        self.errors: list[BaseException] = []
        self._todo = deque(tasks)
        self._left = len(tasks)
        self._lock = threading.Lock()
        if not tasks:
            self.finished.set()

    def work(self) -> None:
        """Do tasks until none is left; the life of a thread."""
        while not self.stop.is_set():
            try:
                task = self._todo.popleft()
            except IndexError:
                return
            try:
                task(self.stop)
            except BaseException as error:  # noqa: BLE001 - raised again by work_off
                self._fail(error)
                return
            self._count()

    def _fail(self, error: BaseException) -> None:
        with self._lock:
            self.errors.append(error)
        self.stop.set()
        self.finished.set()

    def _count(self) -> None:
        with self._lock:
            self._left -= 1
            if self._left == 0:
                self.finished.set()
