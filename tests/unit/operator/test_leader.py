"""The election: two candidates, one lease, clocks that may differ."""

from typing import Any, NoReturn

import pytest
from finetune_operator.client import ApiError, Client
from finetune_operator.kinds import Document, Kind
from finetune_operator.leader import Election, Leader, LeaseTimes


class Leases:
    """An API server that knows one Lease and checks resourceVersions."""

    def __init__(self) -> None:
        self.lease: Document | None = None
        self._version = 0

    async def get(self, _kind: Kind, _namespace: str, name: str) -> Document:
        if self.lease is None:
            raise ApiError(404, "NotFound", name)
        return self.lease

    async def create(self, _kind: Kind, _namespace: str, document: Document) -> Document:
        if self.lease is not None:
            raise ApiError(409, "AlreadyExists", "lease")
        return self._store(document)

    async def update(self, *where: object) -> Document:
        document: Any = where[-1]
        assert self.lease is not None
        if document["metadata"]["resourceVersion"] != self.lease["metadata"]["resourceVersion"]:
            raise ApiError(409, "Conflict", "lease")
        return self._store(document)

    def _store(self, document: Document) -> Document:
        self._version += 1
        metadata = {**document["metadata"], "resourceVersion": str(self._version)}
        self.lease = {**document, "metadata": metadata}
        return self.lease


class Clock:
    now = 0.0

    def __call__(self) -> float:
        return self.now


def candidate(leases: Any, name: str, clock: Clock) -> Election:
    client: Client = leases
    return Election(client, "ns", name, LeaseTimes(), clock)


async def test_the_first_takes_the_lease_and_renews_it() -> None:
    leases, clock = Leases(), Clock()
    first, second = candidate(leases, "first", clock), candidate(leases, "second", clock)
    assert await first.attempt()
    assert not await second.attempt()
    for _ in range(20):
        clock.now += 2
        assert await first.attempt()
        assert not await second.attempt()


async def test_a_lease_that_is_not_renewed_is_taken_and_cannot_be_renewed_any_more() -> None:
    leases, clock = Leases(), Clock()
    first, second = candidate(leases, "first", clock), candidate(leases, "second", clock)
    await first.attempt()
    assert not await second.attempt()
    clock.now += 15
    assert not await second.attempt()
    clock.now += 1
    assert await second.attempt()
    assert not await first.attempt()
    assert leases.lease is not None
    assert leases.lease["spec"]["leaseTransitions"] == 1


async def test_a_released_lease_is_taken_at_once() -> None:
    leases, clock = Leases(), Clock()
    first, second = candidate(leases, "first", clock), candidate(leases, "second", clock)
    await first.attempt()
    await first.release()
    assert await second.attempt()


class DiedError(Exception):
    """In place of the end of the process."""


def test_a_process_that_slept_too_long_writes_nothing_more(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def die() -> NoReturn:
        raise DiedError

    clock = Clock()
    monkeypatch.setattr("finetune_operator.leader.time.monotonic", clock)
    leader = Leader("ns", "me", die=die)
    leader._renewed = 0.0
    clock.now = 9.0
    leader.check()
    clock.now = 11.0
    with pytest.raises(DiedError):
        leader.check()
