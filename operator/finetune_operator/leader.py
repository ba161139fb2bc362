"""Leader election by a Lease, renewed in a thread of its own.

15 s lease, 10 s to renew it, a try every 2 s, as client-go does. Whoever cannot renew in time
ends the process at once, since two leaders would each start pods. The thread has its own event
loop, so that a busy main loop never costs the lease.
"""

import asyncio
import logging
import os
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import NoReturn

import aiohttp

from finetune_operator.client import ApiError, Client, connect
from finetune_operator.kinds import LEASES, Document

logger = logging.getLogger(__name__)

LEASE_NAME = "finetune-operator"
LOST_LEADERSHIP = 1


@dataclass(frozen=True)
class LeaseTimes:
    """Seconds of the election."""

    duration: float = 15.0
    renew_deadline: float = 10.0
    retry: float = 2.0


def _die() -> NoReturn:
    os._exit(LOST_LEADERSHIP)


class Election:
    """The state machine of one candidate; `attempt` makes one try.

    Another's lease counts as expired only when it has not changed for its whole duration by our
    own monotonic clock, so that clocks may differ.
    """

    def __init__(
        self,
        client: Client,
        namespace: str,
        identity: str,
        times: LeaseTimes = LeaseTimes(),
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._client = client
        self._namespace = namespace
        self._identity = identity
        self._times = times
        self._clock = clock
        self._seen: tuple[str, float] | None = None
        self._held: Document | None = None

    async def attempt(self) -> bool:
        """Take or renew the lease; whether it is ours now."""
        try:
            lease = self._held or await self._client.get(LEASES, self._namespace, LEASE_NAME)
        except ApiError as error:
            if not error.not_found:
                raise
            return await self._write(None)
        if not self._may_take(lease):
            return False
        return await self._write(lease)

    async def release(self) -> None:
        """Give the lease up, so that another takes over at once."""
        if self._held is not None:
            lease, self._held = self._held, None
            spec = {**lease["spec"], "holderIdentity": "", "leaseDurationSeconds": 1}
            await self._put({**lease, "spec": spec})

    def _may_take(self, lease: Document) -> bool:
        holder = lease["spec"].get("holderIdentity")
        if not holder or holder == self._identity:
            return True
        version = lease["metadata"]["resourceVersion"]
        if self._seen is None or self._seen[0] != version:
            self._seen = (version, self._clock())
        duration = float(lease["spec"].get("leaseDurationSeconds", self._times.duration))
        return self._clock() - self._seen[1] > duration

    async def _write(self, lease: Document | None) -> bool:
        now = datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")
        old = lease["spec"] if lease else {}
        ours = old.get("holderIdentity") == self._identity
        spec = {
            "holderIdentity": self._identity,
            "leaseDurationSeconds": max(int(self._times.duration), 1),
            "acquireTime": old["acquireTime"] if ours else now,
            "renewTime": now,
            "leaseTransitions": old.get("leaseTransitions", 0) + (0 if ours or not lease else 1),
        }
        metadata = lease["metadata"] if lease else {"name": LEASE_NAME}
        document = {
            "apiVersion": "coordination.k8s.io/v1",
            "kind": "Lease",
            "metadata": metadata,
            "spec": spec,
        }
        try:
            if lease is None:
                self._held = await self._client.create(LEASES, self._namespace, document)
            else:
                self._held = await self._put(document)
        except ApiError as error:
            self._held = None
            if error.conflict or error.already_exists or error.not_found:
                return False
            raise
        return True

    async def _put(self, document: Document) -> Document:
        return await self._client.update(LEASES, self._namespace, LEASE_NAME, document)


class Leader:
    """Holds the lease from a thread; `check` fences every write of the main loop."""

    def __init__(
        self,
        namespace: str,
        identity: str,
        *,
        times: LeaseTimes = LeaseTimes(),
        die: Callable[[], NoReturn] = _die,
    ) -> None:
        self._namespace = namespace
        self._identity = identity
        self._times = times
        self._die = die
        self._renewed = 0.0
        self._elected = threading.Event()
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="lease", daemon=True)

    def start(self) -> None:
        """Begin to stand for election."""
        self._thread.start()

    @property
    def elected(self) -> bool:
        """Whether the lease is held."""
        return self._elected.is_set()

    def check(self) -> None:
        """End the process unless the lease was renewed in time, as after a long pause."""
        if time.monotonic() - self._renewed > self._times.renew_deadline:
            logger.error("the lease was not renewed in time; ending")
            self._die()

    def release(self) -> None:
        """Stop renewing and give the lease up; returns when that is done."""
        self._stop.set()
        self._thread.join(timeout=5)

    def _run(self) -> None:
        try:
            asyncio.run(self._hold())
        except Exception:
            logger.exception("leader election failed; ending")
            self._die()

    async def _hold(self) -> None:
        async with connect() as client:
            election = Election(client, self._namespace, self._identity, self._times)
            while not self._stop.is_set():
                await self._round(election)
                await asyncio.to_thread(self._stop.wait, self._times.retry)
            if self._elected.is_set():
                await election.release()

    async def _round(self, election: Election) -> None:
        began = time.monotonic()
        try:
            async with asyncio.timeout(self._times.renew_deadline / 2):
                ours = await election.attempt()
        except (ApiError, aiohttp.ClientError, TimeoutError, OSError) as error:
            logger.warning("the lease could not be renewed: %s", error)
            if self._elected.is_set():
                self.check()
            return
        if ours:
            self._renewed = began
            if not self._elected.is_set():
                logger.info("leading as %s", self._identity)
                self._elected.set()
        elif self._elected.is_set():
            logger.error("another process holds the lease; ending")
            self._die()
