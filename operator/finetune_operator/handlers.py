"""kopf's part: watch streams into the store. The only module that imports kopf.

kopf runs in a thread with its own event loop and is started anew when a watch fails for good or
when PyTorchJob comes or goes, since it looks for kinds only at its start. It keeps no state of
its own: no finalizers, annotations, timers, events or peering.
"""

import asyncio
import logging
import threading
import time
from collections.abc import Callable
from typing import Any

import kopf
from finetune_api.job import LABEL_JOB_UID

from finetune_operator.kinds import CHILDREN, JOBS, WATCHED, Document, Kind

logger = logging.getLogger(__name__)

MIN_RESTART_SECONDS = 1.0
MAX_RESTART_SECONDS = 30.0
HEALTHY_SECONDS = 60.0
SETTLED_SECONDS = 5.0
"""Watches that failed before count as working again after this time."""
_IDENTITY: Any = "finetune-operator"
"""Only peering would use it, which is off; kopf's type for it is not exported."""

OnSeen = Callable[[Kind, str | None, Document], None]
"""Takes (kind, event type, object) of each watch event, in kopf's thread."""


def registry_for(on_seen: OnSeen) -> kopf.OperatorRegistry:
    """Handlers that pass every event on."""
    registry = kopf.OperatorRegistry()
    kopf.on.login(registry=registry)(_log_in)
    for kind in WATCHED:
        labels = None if kind == JOBS else {LABEL_JOB_UID: kopf.PRESENT}
        kopf.on.event(
            kind.group, kind.version, kind.plural, registry=registry, labels=labels, id=kind.plural
        )(_handler(kind, on_seen))
    return registry


def _handler(kind: Kind, on_seen: OnSeen) -> Callable[..., Any]:
    async def pass_on(event: Any, **_: Any) -> None:
        on_seen(kind, event["type"], dict(event["object"]))

    return pass_on


def _log_in(**kwargs: Any) -> kopf.ConnectionInfo | None:
    return kopf.login_with_service_account(**kwargs) or kopf.login_with_kubeconfig(**kwargs)


def watch_settings() -> kopf.OperatorSettings:
    """Settings of a kopf that only watches."""
    settings = kopf.OperatorSettings()
    settings.posting.enabled = False
    settings.posting.loggers = False
    settings.peering.standalone = True
    settings.scanning.disabled = True
    settings.queueing.worker_limit = None
    settings.networking.request_timeout = 30
    settings.watching.chunk_size = 500
    settings.watching.connect_timeout = 10
    # A watch that the server ends after minutes is opened again; one that hangs is given up.
    settings.watching.server_timeout = 240
    settings.watching.client_timeout = 300
    for kind in CHILDREN:
        settings.watching.label_selectors[kopf_selector(kind)] = LABEL_JOB_UID
    return settings


def kopf_selector(kind: Kind) -> tuple[str, str, str]:
    """The kind as kopf's settings name it."""
    return kind.group, kind.version, kind.plural


class Watcher:
    """Keeps kopf running in a thread."""

    def __init__(
        self, namespaces: tuple[str, ...], on_seen: OnSeen, on_settled: Callable[[], None]
    ) -> None:
        """`on_settled` is called in a thread when new watches have had time to begin: what was
        deleted between the last full list and their begin is known only to another list."""
        self._namespaces = namespaces
        self._on_seen = on_seen
        self._on_settled = on_settled
        self._stopping = threading.Event()
        self._round_over = threading.Event()
        self._thread = threading.Thread(target=self._run, name="kopf", daemon=True)
        self._began: float | None = None
        self._failed_since: float | None = None

    @property
    def down_since(self) -> float | None:
        """Monotonic time since when no watch works; None while they work."""
        began, failed = self._began, self._failed_since
        settled = began is not None and time.monotonic() - began > SETTLED_SECONDS
        return None if settled else failed

    def start(self) -> None:
        """Begin to watch."""
        self._thread.start()

    def restart(self) -> None:
        """Look for the kinds anew."""
        self._round_over.set()

    def stop(self) -> None:
        """End the watches."""
        self._stopping.set()
        self._round_over.set()
        self._thread.join(timeout=5)

    def _run(self) -> None:
        wait = MIN_RESTART_SECONDS
        while True:
            # Cleared before the look at _stopping, so that no stop is lost in between.
            self._round_over.clear()
            if self._stopping.is_set():
                return
            self._began = began = time.monotonic()
            wanted = self._one_round()
            lasted = time.monotonic() - began
            if wanted or lasted > SETTLED_SECONDS or self._failed_since is None:
                self._failed_since = None if wanted else time.monotonic()
            self._began = None
            if wanted or lasted > HEALTHY_SECONDS:
                wait = MIN_RESTART_SECONDS
            if not wanted:
                self._stopping.wait(wait)
                wait = min(wait * 2, MAX_RESTART_SECONDS)

    def _one_round(self) -> bool:
        """Run kopf until it ends; whether that was wanted."""
        settled = threading.Timer(SETTLED_SECONDS, self._on_settled)
        settled.daemon = True
        settled.start()
        try:
            asyncio.run(
                kopf.operator(
                    registry=registry_for(self._on_seen),
                    settings=watch_settings(),
                    standalone=True,
                    # Without one, kopf asks for the user's name, which a numeric user lacks.
                    identity=_IDENTITY,
                    clusterwide=not self._namespaces,
                    namespaces=self._namespaces,
                    stop_flag=self._round_over,
                )
            )
        except Exception:
            logger.exception("the watches ended; they are started again")
            return False
        finally:
            settled.cancel()
        return self._round_over.is_set()
