"""Which backends are served is told to the watches, whoever looks and whatever fails between."""

import asyncio
from collections.abc import Iterator
from contextlib import suppress
from typing import Any

from finetune_operator.client import ApiError
from finetune_operator.resync import watch_backends

WITHOUT, WITH = frozenset({"Job"}), frozenset({"Job", "PyTorchJob"})


class Looks:
    """Stands for a Resync: what each look finds, and which full lists fail."""

    def __init__(self, looks: list[frozenset[str] | None], lists: list[bool]) -> None:
        self.looks: Iterator[frozenset[str] | None] = iter(looks)
        self.lists = iter(lists)
        self.over = asyncio.Event()

    async def look_at_backends(self) -> frozenset[str]:
        found = next(self.looks, "over")
        if found == "over":
            self.over.set()
            await asyncio.Event().wait()
        if found is None:
            raise ApiError(503, "ServiceUnavailable", "away")
        assert isinstance(found, frozenset)
        return found

    async def once(self) -> None:
        if not next(self.lists, True):
            raise ApiError(503, "ServiceUnavailable", "away")


async def times_told(looks: list[frozenset[str] | None], lists: list[bool]) -> int:
    """How often the watches are started anew."""
    told: list[Any] = []
    resync = Looks(looks, lists)
    task = asyncio.create_task(watch_backends(resync, 0.001, lambda: told.append(1)))  # type: ignore[arg-type]
    await asyncio.wait_for(resync.over.wait(), 10)
    task.cancel()
    with suppress(asyncio.CancelledError):
        await task
    return len(told)


async def test_what_is_served_from_the_start_needs_no_new_watches() -> None:
    assert await times_told([WITH, WITH], []) == 0


async def test_a_change_is_told_once() -> None:
    assert await times_told([WITHOUT, WITH, WITH, WITHOUT], []) == 2


async def test_a_change_is_told_even_if_the_list_after_it_failed() -> None:
    assert await times_told([WITHOUT, WITH, WITH], [False, True]) == 1


async def test_who_could_not_look_at_the_start_begins_the_watches_anew() -> None:
    assert await times_told([None, WITH, WITH], []) == 1
