"""Copies objects to disk: parallel ranges, each written to its place in the file.

Several connections at once are what makes object stores fast, and a range that breaks off is
asked for again from where it broke. Memory is bounded by what each thread holds: one chunk.
"""

import hashlib
import os
import shutil
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, ExitStack
from functools import partial
from itertools import pairwise
from pathlib import Path

from finetune_api.errors import InfrastructureError
from finetune_api.reasons import Reason

from finetune_trainer.storage.files import file_errors, incoming, put_in_place
from finetune_trainer.storage.pool import Stopped, Task, work_off
from finetune_trainer.storage.retry import retrying
from finetune_trainer.storage.store import Download, ObjectInfo, PreconditionFailed, Watch

THREADS = 16
"""Ranges under way at once; one thread each."""
CHUNK = 2**19
"""Bytes that a thread holds at most: enough for few calls, and still in the processor's cache when
they are copied on."""

OpenRange = Callable[[ObjectInfo, int, int], AbstractContextManager[Iterator[bytes]]]
"""Asks for the bytes [begin, end) of an object: (object, begin, end) -> chunks of at most CHUNK.

Raises PreconditionFailed when the object has another etag by now, and the store's errors. It
tries once; an InfrastructureError from it, or from the iterator, is what is tried again.
"""


def transfer(
    downloads: Sequence[Download], open_range: OpenRange, *, part_size: int, watch: Watch | None
) -> None:
    """Copy all `downloads`; each file appears complete or not at all.

    Objects above `part_size` bytes are fetched in parts, smaller ones in one request.
    """
    progress = _Progress(sum(each.info.size for each in downloads))
    _check_room(downloads, progress.total)
    tell = partial(progress.tell, watch)
    with ExitStack() as leftovers:
        tasks: list[Task] = []
        for each in downloads:
            arrival = _Arrival(each, open_range, progress, part_size)
            leftovers.callback(arrival.temporary.unlink, missing_ok=True)
            tasks += arrival.tasks()
        work_off(tasks, THREADS, tell)
    tell()


def ranges(size: int, part_size: int) -> list[tuple[int, int]]:
    """[begin, end) of each part of an object of `size` bytes: as few as none is above `part_size`,
    of nearly the same size."""
    count = max(1, -(-size // part_size))
    return list(pairwise(size * number // count for number in range(count + 1)))


class _Progress:
    """Bytes that have arrived, counted by many threads."""

    def __init__(self, total: int) -> None:
        self.total = total
        self._done = 0
        self._lock = threading.Lock()

    def add(self, count: int) -> None:
        with self._lock:
            self._done += count

    def tell(self, watch: Watch | None) -> None:
        if watch is not None:
            watch(self._done, self.total)


class _Arrival:
    """One file on its way."""

    def __init__(
        self, wanted: Download, open_range: OpenRange, progress: _Progress, part_size: int
    ) -> None:
        self._wanted = wanted
        self._open_range = open_range
        self._progress = progress
        self._ranges = ranges(wanted.info.size, part_size)
        self._parts_left = len(self._ranges)
        self._lock = threading.Lock()
        self._writing = threading.Lock()
        with file_errors(str(wanted.path)):
            wanted.path.parent.mkdir(parents=True, exist_ok=True)
            self.temporary = incoming(wanted.path, wanted.info.size)

    def tasks(self) -> list[Task]:
        """Its parts; the one that ends last checks the file and puts it in place."""
        return [partial(self._fetch_part, begin, end) for begin, end in self._ranges]

    def _fetch_part(self, begin: int, end: int, stop: threading.Event) -> None:
        with file_errors(str(self._wanted.path)):
            # A descriptor of its own: a thread that was left behind in a read must not write to
            # a number that means another file by then.
            target = self.temporary.open("r+b", buffering=0)
        with target:
            part = _Part(self._wanted.info, begin, end, target.fileno(), self._writing)
            retrying(
                partial(part.go_on, self._open_range, self._progress, stop),
                pause=partial(_pause, stop),
            )
        with self._lock:
            self._parts_left -= 1
            last = self._parts_left == 0
        if last:
            self._finish(stop)

    def _finish(self, stop: threading.Event) -> None:
        expected = self._wanted.sha256
        with file_errors(str(self._wanted.path)):
            if expected is not None and _sha256(self.temporary, stop) != expected:
                raise PreconditionFailed(self._wanted.info.uri)
            put_in_place(self.temporary, self._wanted.path)


class _Part:
    """Bytes [position, end) of an object that are still to come."""

    def __init__(
        self, info: ObjectInfo, begin: int, end: int, file: int, writing: threading.Lock
    ) -> None:
        self._info = info
        self._position = begin
        self._end = end
        self._file = file
        self._writing = writing

    def go_on(self, open_range: OpenRange, progress: _Progress, stop: threading.Event) -> None:
        """Fetch what is left, from where an earlier try broke off."""
        if self._position == self._end and self._end:
            return
        with open_range(self._info, self._position, self._end) as chunks:
            for chunk in chunks:
                if stop.is_set():
                    raise Stopped
                if self._position + len(chunk) > self._end:
                    raise _wrong_length(self._info, "sends more than was asked for")
                # File systems let one writer at a time into a file and have the others spin, which
                # took more processor time than the copies: wait here, asleep.
                with self._writing, file_errors(self._info.uri):
                    _write(self._file, chunk, self._position)
                self._position += len(chunk)
                progress.add(len(chunk))
        if self._position != self._end:
            raise _wrong_length(self._info, "ended the answer early")


def _write(file: int, chunk: bytes, position: int) -> None:
    view = memoryview(chunk)
    while view:
        count = os.pwrite(file, view, position)
        view, position = view[count:], position + count


def _pause(stop: threading.Event, seconds: float) -> None:
    if stop.wait(seconds):
        raise Stopped


def _sha256(path: Path, stop: threading.Event) -> str:
    digest = hashlib.sha256()
    with path.open("rb", buffering=0) as file:
        while block := file.read(CHUNK):
            if stop.is_set():
                raise Stopped
            digest.update(block)
    return digest.hexdigest()


def _check_room(downloads: Sequence[Download], total: int) -> None:
    """Say that the disk is too small now rather than after an hour."""
    folder = next((each.path.parent for each in downloads), Path())
    while not folder.exists():
        folder = folder.parent
    free = shutil.disk_usage(folder).free
    if total > free:
        raise InfrastructureError(
            Reason.STORAGE_UNAVAILABLE,
            f"{total / 2**30:.1f} GiB are to be fetched and the disk has {free / 2**30:.1f} GiB "
            "free; give the pod a node with a larger disk",
            where=str(folder),
        )


def _wrong_length(info: ObjectInfo, what: str) -> InfrastructureError:
    return InfrastructureError(
        Reason.STORAGE_UNAVAILABLE,
        f"the store {what}; check storage.endpoint and what lies between it and the pods",
        where=info.uri,
    )
