"""The slow full list: fills the store at the start and heals what a watch missed."""

import asyncio
import contextlib
import logging
import time
from collections.abc import Callable
from dataclasses import replace

import aiohttp
from finetune_api.job import LABEL_JOB_UID

from finetune_operator.backends.choice import BACKENDS
from finetune_operator.client import ApiError, Client
from finetune_operator.kinds import JOBS, OPTIONAL, WATCHED, Kind
from finetune_operator.metrics import Metrics
from finetune_operator.observe import Situation
from finetune_operator.store import Store

logger = logging.getLogger(__name__)

FIRST_LIST_RETRY_SECONDS = 2.0


class Resync:
    """Lists every kind; `ready` is set once all of them have been listed."""

    def __init__(
        self,
        client: Client,
        store: Store,
        situation: Situation,
        metrics: Metrics,
        namespaces: tuple[str, ...],
    ) -> None:
        self._client = client
        self._store = store
        self._situation = situation
        self._metrics = metrics
        self._scopes: tuple[str | None, ...] = namespaces or (None,)
        self.ready = asyncio.Event()
        self._asked = asyncio.Event()
        self.last_success = time.monotonic()

    async def run(self, interval: float) -> None:
        """List until cancelled: first until it works, then every `interval` seconds, or sooner
        when asked."""
        while True:
            try:
                await self.once()
            except (ApiError, aiohttp.ClientError, TimeoutError) as error:
                logger.warning("full list failed: %s", error)
            await self._pause(interval if self.ready.is_set() else FIRST_LIST_RETRY_SECONDS)

    def ask(self) -> None:
        """List again now."""
        self._asked.set()

    async def _pause(self, seconds: float) -> None:
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await self._asked.wait()
        self._asked.clear()

    async def once(self) -> None:
        """List all kinds once, jobs first: children are never older than what speaks of them."""
        await self.look_at_backends()
        missed = 0
        for kind in WATCHED:
            for scope in self._scopes:
                missed += await self._list(kind, scope)
        if self.ready.is_set() and missed:
            logger.warning("a full list healed %d missed changes", missed)
            self._metrics.missed_events.inc(missed)
        self.last_success = time.monotonic()
        self.ready.set()

    async def look_at_backends(self) -> frozenset[str]:
        """Ask discovery which backends' kinds are served."""
        served = frozenset([b.name for b in BACKENDS if await self._client.serves(b.kind)])
        self._situation.backends = replace(self._situation.backends, served=served)
        return served

    async def _list(self, kind: Kind, scope: str | None) -> int:
        selector = "" if kind == JOBS else LABEL_JOB_UID
        try:
            listed, version = await self._client.list_all(kind, scope, selector)
        except ApiError as error:
            if kind in OPTIONAL and error.not_found:
                return self._store.clear(kind)
            raise
        return self._store.replace(kind, scope, listed, version)


async def watch_backends(resync: Resync, interval: float, on_change: Callable[[], None]) -> None:
    """Look at discovery until cancelled; a backend installed later needs no restart.

    The watches begin with what is served at the first look, if that succeeds at once. A change
    counts as told only when `on_change` was called: others look too, and lists may fail.
    """
    told: frozenset[str] | None = None
    known = True
    while True:
        try:
            served = await resync.look_at_backends()
            if served != told and not (told is None and known):
                logger.info("which backends are served has changed")
                await resync.once()
                on_change()
            told = served
        except (ApiError, aiohttp.ClientError, TimeoutError) as error:
            known = False
            logger.warning("discovery failed: %s", error)
        await asyncio.sleep(interval)
