"""Puts the parts together and runs them until a signal or the loss of the lease."""

import asyncio
import logging
import signal
from contextlib import AsyncExitStack

from finetune_operator.client import Client, connect
from finetune_operator.config import Config
from finetune_operator.crash import CrashPoints
from finetune_operator.handlers import Watcher
from finetune_operator.health import Vitals, application, serve
from finetune_operator.kinds import Document, Key, Kind
from finetune_operator.leader import Leader
from finetune_operator.metrics import Metrics
from finetune_operator.observe import Situation
from finetune_operator.progress import ProgressReader
from finetune_operator.queue import WorkQueue
from finetune_operator.reconcile import Reconciler
from finetune_operator.resync import Resync, watch_backends
from finetune_operator.seen import Backends
from finetune_operator.store import Store

logger = logging.getLogger(__name__)

LEADER_POLL_SECONDS = 0.2


class Operator:
    """One replica: every replica watches, only the leader works."""

    def __init__(self, config: Config, client: Client) -> None:
        self._config = config
        self._client = client
        self._loop = asyncio.get_running_loop()
        self._metrics = Metrics()
        self._situation = Situation(Backends(config.backend))
        self._store = Store(on_change=self._enqueue)
        reconciler = Reconciler(
            client,
            self._store,
            self._situation,
            self._metrics,
            settings=config.children,
            crash=CrashPoints(config.crash_at),
            retry_seconds=config.retry_seconds,
        )
        self._queue = WorkQueue(reconciler.reconcile)
        self._resync = Resync(
            client, self._store, self._situation, self._metrics, config.namespaces
        )
        self._watcher = Watcher(config.namespaces, self._seen, self._watches_settled)
        self._leader = (
            Leader(config.pod_namespace, config.pod_name) if config.leader_election else None
        )

    async def run(self, stopped: asyncio.Event) -> None:
        """Run until `stopped`."""
        async with AsyncExitStack() as stack:
            runner = await serve(
                application(self._vitals(), self._metrics), self._config.health_port
            )
            stack.push_async_callback(runner.cleanup)
            if self._leader is not None:
                self._leader.start()
                self._client.fence = self._leader.check
                stack.push_async_callback(asyncio.to_thread, self._leader.release)
            self._watcher.start()
            stack.push_async_callback(asyncio.to_thread, self._watcher.stop)
            async with asyncio.TaskGroup() as tasks:
                running = [
                    tasks.create_task(self._resync.run(self._config.resync_seconds)),
                    tasks.create_task(self._watch_backends()),
                    tasks.create_task(self._lead()),
                ]
                await stopped.wait()
                logger.info("stopping")
                for task in running:
                    task.cancel()

    async def _lead(self) -> None:
        """Work once everything was listed and the lease is held."""
        await self._resync.ready.wait()
        if self._leader is not None:
            while not self._leader.elected:  # noqa: ASYNC110 - a thread sets it
                await asyncio.sleep(LEADER_POLL_SECONDS)
            # What the last leader did since our lists must be seen before anything is decided.
            await self._resync.once()
        self._metrics.leader.set(1)
        logger.info("working on %d jobs", len(list(self._store.jobs())))
        self._enqueue_all()
        reader = ProgressReader(self._store, self._situation, self._enqueue)
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(self._queue.run(self._config.workers))
            tasks.create_task(reader.run())

    async def _watch_backends(self) -> None:
        await watch_backends(self._resync, self._config.discovery_seconds, self._backends_changed)

    def _backends_changed(self) -> None:
        self._watcher.restart()
        self._enqueue_all()

    def _enqueue(self, key: Key) -> None:
        self._queue.add(key)

    def _enqueue_all(self) -> None:
        for document in self._store.jobs():
            metadata = document["metadata"]
            self._queue.add((metadata["namespace"], metadata["name"]))

    def _seen(self, kind: Kind, event_type: str | None, document: Document) -> None:
        """In kopf's thread."""
        take = self._store.remove if event_type == "DELETED" else self._store.put
        if not self._loop.is_closed():
            self._loop.call_soon_threadsafe(take, kind, document)

    def _watches_settled(self) -> None:
        """In a thread of the watcher's."""
        if not self._loop.is_closed():
            self._loop.call_soon_threadsafe(self._resync.ask)

    def _vitals(self) -> Vitals:
        return Vitals(
            ready=self._resync.ready.is_set,
            listed_at=lambda: self._resync.last_success,
            list_interval=self._config.resync_seconds,
            watches_down_since=lambda: self._watcher.down_since,
            oldest_work=self._queue.oldest_running_seconds,
            refresh=self._refresh_gauges,
        )

    def _refresh_gauges(self) -> None:
        self._metrics.queue_depth.set(len(self._queue))
        self._metrics.count_jobs(
            [d.get("status", {}).get("phase", "Pending") for d in self._store.jobs()]
        )


async def run_operator(config: Config) -> None:
    """Run until SIGTERM or SIGINT."""
    stopped = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stopped.set)
    async with connect() as client:
        await Operator(config, client).run(stopped)
