"""HTTP for the kubelet and Prometheus: /healthz, /readyz, /metrics."""

import time
from collections.abc import Callable
from dataclasses import dataclass

from aiohttp import web
from prometheus_client import CONTENT_TYPE_LATEST, generate_latest

from finetune_operator.metrics import Metrics

STUCK_SECONDS = 180.0
"""A reconciliation has no business taking that long."""
WATCHES_DOWN_SECONDS = 120.0


@dataclass(frozen=True)
class Vitals:
    """What the probes look at."""

    ready: Callable[[], bool]
    """All kinds were listed."""
    listed_at: Callable[[], float]
    """Monotonic time of the last full list."""
    list_interval: float
    watches_down_since: Callable[[], float | None]
    oldest_work: Callable[[], float]
    """Seconds of the longest reconciliation in progress."""
    refresh: Callable[[], None]
    """Bring gauges up to date."""

    def complaint(self, now: float) -> str | None:
        """What is wrong, or None. That this runs at all shows that the event loop lives."""
        down = self.watches_down_since()
        if down is not None and now - down > WATCHES_DOWN_SECONDS:
            return f"no watch for {now - down:.0f} s"
        if now - self.listed_at() > 3 * self.list_interval + STUCK_SECONDS:
            return f"no full list for {now - self.listed_at():.0f} s"
        if self.oldest_work() > STUCK_SECONDS:
            return f"a reconciliation takes {self.oldest_work():.0f} s"
        return None


def application(vitals: Vitals, metrics: Metrics) -> web.Application:
    """The web application."""

    async def healthz(_: web.Request) -> web.Response:
        complaint = vitals.complaint(time.monotonic())
        return web.Response(text=complaint or "ok", status=503 if complaint else 200)

    async def readyz(_: web.Request) -> web.Response:
        ready = vitals.ready()
        return web.Response(text="ok" if ready else "listing", status=200 if ready else 503)

    async def prometheus(_: web.Request) -> web.Response:
        vitals.refresh()
        body = generate_latest(metrics.registry)
        return web.Response(body=body, headers={"Content-Type": CONTENT_TYPE_LATEST})

    app = web.Application()
    app.router.add_get("/healthz", healthz)
    app.router.add_get("/readyz", readyz)
    app.router.add_get("/metrics", prometheus)
    return app


async def serve(app: web.Application, port: int) -> web.AppRunner:
    """Listen on all addresses; the caller cleans the runner up."""
    runner = web.AppRunner(app, access_log=None)
    await runner.setup()
    await web.TCPSite(runner, port=port).start()
    return runner
