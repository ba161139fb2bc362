"""Progress: what a pod says is checked, and written only when it is worth it."""

import json
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager

import aiohttp
import pytest
from aiohttp import web
from finetune_api.progress import Progress, Stage
from finetune_operator.progress import (
    Budget,
    ProgressGate,
    fetch_progress,
    parse_progress,
)

GOOD = {"stage": "Training", "step": 5, "totalSteps": 10, "percent": 50, "loss": "1.25"}


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"[]",
        b"not json",
        b'{"stage": "Training", "percent": 101}',
        b'{"stage": "Training", "percent": "50"}',
        b'{"stage": "Training", "extra": 1}',
        b'{"stage": "Sleeping"}',
        json.dumps({**GOOD, "loss": "1" * 30}).encode(),
        json.dumps(GOOD).encode() + b" " * 5000,
        b"[" * 4000,
    ],
)
def test_what_is_no_progress_is_ignored(body: bytes) -> None:
    assert parse_progress(body) is None


@asynccontextmanager
async def serving(
    handler: Callable[[web.Request], Awaitable[web.StreamResponse]],
) -> AsyncIterator[str]:
    application = web.Application()
    application.router.add_get("/progress", handler)
    runner = web.AppRunner(application)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    host, port = runner.addresses[0][:2]
    yield f"http://{host}:{port}/progress"
    await runner.cleanup()


async def fetched(handler: Callable[[web.Request], Awaitable[web.StreamResponse]]) -> object:
    async with serving(handler) as url, aiohttp.ClientSession() as session:
        return await fetch_progress(session, url)


async def test_a_good_answer_is_read() -> None:
    async def handler(_: web.Request) -> web.Response:
        return web.json_response(GOOD)

    assert await fetched(handler) == Progress.parse_wire(GOOD)


async def test_redirects_errors_and_endless_answers_are_not_followed() -> None:
    async def redirect(_: web.Request) -> web.Response:
        raise web.HTTPFound("http://169.254.169.254/")

    async def error(_: web.Request) -> web.Response:
        return web.json_response(GOOD, status=500)

    async def endless(request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse()
        await response.prepare(request)
        for _ in range(100):
            await response.write(b" " * 1000)
        return response

    for handler in (redirect, error, endless):
        assert await fetched(handler) is None


async def test_a_pod_that_does_not_answer_is_no_trouble() -> None:
    async with aiohttp.ClientSession() as session:
        assert await fetch_progress(session, "http://127.0.0.1:1/progress") is None


class Clock:
    now = 1000.0

    def __call__(self) -> float:
        return self.now


def at(percent: int, stage: Stage = Stage.TRAINING) -> Progress:
    return Progress(stage=stage, percent=percent)


def test_a_report_passes_after_ten_seconds_and_one_percent_or_another_stage() -> None:
    clock = Clock()
    gate = ProgressGate(Budget(20, clock), clock)
    assert gate.passes("a", at(1))
    clock.now += 5
    assert not gate.passes("a", at(2))
    clock.now += 5
    assert not gate.passes("a", at(1))
    assert gate.passes("a", at(2))
    clock.now += 10
    assert gate.passes("a", at(2, Stage.EVALUATING))


def test_all_jobs_together_stay_within_the_budget() -> None:
    clock = Clock()
    gate = ProgressGate(Budget(20, clock), clock)
    assert sum(gate.passes(str(index), at(1)) for index in range(100)) == 20
    clock.now += 0.5
    assert sum(gate.passes(str(index), at(1)) for index in range(20, 100)) == 10


def test_a_job_is_read_once_an_interval() -> None:
    clock = Clock()
    gate = ProgressGate(Budget(20, clock), clock)
    assert gate.due("a", 5)
    assert not gate.due("a", 5)
    clock.now += 5
    assert gate.due("a", 5)
    assert gate.keep_only(set()) == {"a"}
