"""Pulls progress from the preparation's pod or rank 0's and decides what is worth a status write.

What a pod answers is not trusted: size capped, no redirects, two seconds, checked against the
schema. Training never depends on being asked.
"""

import asyncio
import json
import logging
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

import aiohttp
from finetune_api.children import ROLE_PREPARE, ROLE_TRAIN, incarnation_name
from finetune_api.job import LABEL_ROLE
from finetune_api.progress import MAX_PROGRESS_BYTES, PROGRESS_PATH, PROGRESS_PORT, Progress
from finetune_api.status import Phase
from pydantic import ValidationError

from finetune_operator.backends.choice import backend_named
from finetune_operator.kinds import PODS, Document, Key
from finetune_operator.observe import Situation, identity_of
from finetune_operator.seen import PodPhase
from finetune_operator.store import Store

logger = logging.getLogger(__name__)

READ_SECONDS = 5.0
READ_SECONDS_CROWDED = 30.0
CROWD = 50
"""Jobs whose pods work from which on each is read less often."""
WRITE_SECONDS = 10.0
WRITES_PER_SECOND = 20.0
TIMEOUT = aiohttp.ClientTimeout(total=2)
CONCURRENT_READS = 32
_PHASES_READ = frozenset({Phase.PREPARING, Phase.RUNNING})


class Budget:
    """A token bucket: at most `rate` writes a second over all jobs."""

    def __init__(self, rate: float, clock: Callable[[], float] = time.monotonic) -> None:
        self._rate = rate
        self._clock = clock
        self._tokens = rate
        self._at = clock()

    def take(self) -> bool:
        """Whether one more write fits now."""
        now = self._clock()
        self._tokens = min(self._rate, self._tokens + (now - self._at) * self._rate)
        self._at = now
        if self._tokens < 1:
            return False
        self._tokens -= 1
        return True


@dataclass
class _Told:
    """What was last offered for a job, and when it is to be read next."""

    read_at: float = 0.0
    offered_at: float = float("-inf")
    offered: Progress | None = None


@dataclass
class ProgressGate:
    """Lets a report through when 10 s have passed and 1% or the stage changed."""

    budget: Budget
    clock: Callable[[], float] = time.monotonic
    _jobs: dict[str, _Told] = field(default_factory=dict)

    def due(self, uid: str, interval: float) -> bool:
        """Whether the job is to be read now; notes that it is."""
        told = self._jobs.setdefault(uid, _Told())
        now = self.clock()
        if now < told.read_at:
            return False
        told.read_at = now + interval
        return True

    def passes(self, uid: str, progress: Progress) -> bool:
        """Whether the report is worth a status write now."""
        told = self._jobs.setdefault(uid, _Told())
        before = told.offered
        if before and _shown(before) == _shown(progress):
            return False
        if self.clock() - told.offered_at < WRITE_SECONDS or not self.budget.take():
            return False
        told.offered, told.offered_at = progress, self.clock()
        return True

    def keep_only(self, uids: set[str]) -> set[str]:
        """Forget other jobs; returns their UIDs."""
        gone = self._jobs.keys() - uids
        for uid in gone:
            del self._jobs[uid]
        return gone


def parse_progress(body: bytes) -> Progress | None:
    """The report in `body`, or None when it is none."""
    if len(body) > MAX_PROGRESS_BYTES:
        return None
    try:
        return Progress.parse_wire(json.loads(body))
    except (ValueError, ValidationError, RecursionError):
        return None


async def fetch_progress(session: aiohttp.ClientSession, url: str) -> Progress | None:
    """What the pod at `url` says, or None when it says nothing usable."""
    try:
        async with session.get(url, allow_redirects=False, timeout=TIMEOUT) as response:
            if response.status != 200:
                return None
            body = await response.content.read(MAX_PROGRESS_BYTES + 1)
            while len(body) <= MAX_PROGRESS_BYTES:
                more = await response.content.read(MAX_PROGRESS_BYTES + 1 - len(body))
                if not more:
                    break
                body += more
            return parse_progress(body)
    except (aiohttp.ClientError, TimeoutError, OSError):
        return None


class ProgressReader:
    """Reads all jobs whose pods work, in turn; only the leader runs it."""

    def __init__(self, store: Store, situation: Situation, enqueue: Callable[[Key], None]) -> None:
        self._store = store
        self._situation = situation
        self._enqueue = enqueue
        self._gate = ProgressGate(Budget(WRITES_PER_SECOND))
        self._slots = asyncio.Semaphore(CONCURRENT_READS)

    async def run(self) -> None:
        """Read until cancelled."""
        async with aiohttp.ClientSession(trust_env=False) as session, asyncio.TaskGroup() as tasks:
            while True:
                for document, url in self._due():
                    tasks.create_task(self._read(session, document, url))
                await asyncio.sleep(1)

    def _due(self) -> list[tuple[Document, str]]:
        running = [
            d for d in self._store.jobs() if d.get("status", {}).get("phase") in _PHASES_READ
        ]
        uids = {document["metadata"]["uid"] for document in running}
        for uid in self._gate.keep_only(uids):
            self._situation.progress.pop(uid, None)
        interval = READ_SECONDS if len(running) <= CROWD else READ_SECONDS_CROWDED
        due = []
        for document in running:
            url = self._url(document)
            if url and self._gate.due(document["metadata"]["uid"], interval):
                due.append((document, url))
        return due

    def _url(self, document: Document) -> str | None:
        pod = self._pod(document)
        address = pod.get("status", {}).get("podIP") if pod else None
        if not address:
            return None
        host = f"[{address}]" if ":" in address else address
        return f"http://{host}:{PROGRESS_PORT}{PROGRESS_PATH}"

    def _pod(self, document: Document) -> Document | None:
        """The pod that tells how far the job is."""
        if document["status"]["phase"] == Phase.RUNNING:
            return self._rank_zero(document)
        preparing = (
            pod
            for pod in self._pods(document, ROLE_PREPARE)
            if pod.get("status", {}).get("phase") == PodPhase.RUNNING
        )
        return next(preparing, None)

    def _rank_zero(self, document: Document) -> Document | None:
        status = document["status"]
        backend = backend_named(status.get("backend"))
        name = incarnation_name(identity_of(document), status.get("incarnation", 0))
        zero = (
            pod
            for pod in self._pods(document, ROLE_TRAIN)
            if backend and backend.is_rank_zero(pod["metadata"]["name"], name)
        )
        return next(zero, None)

    def _pods(self, document: Document, role: str) -> Iterator[Document]:
        """The job's pods of a role, the newest first."""
        for pod in reversed(self._store.owned(PODS, identity_of(document).uid)):
            if pod["metadata"]["labels"].get(LABEL_ROLE) == role:
                yield pod

    async def _read(self, session: aiohttp.ClientSession, document: Document, url: str) -> None:
        async with self._slots:
            progress = await fetch_progress(session, url)
        metadata = document["metadata"]
        if progress is not None and self._gate.passes(metadata["uid"], progress):
            self._situation.progress[metadata["uid"]] = progress
            self._enqueue((metadata["namespace"], metadata["name"]))


def _shown(progress: Progress) -> tuple[object, ...]:
    """What people see move."""
    return progress.percent, progress.stage, progress.stage_percent, progress.resumed_from_step
