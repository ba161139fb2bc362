"""What a download from S3 promises when the network and the store fail it."""

import hashlib
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from finetune_api.errors import InfrastructureError, InterruptedRunError, UserError
from finetune_api.reasons import Reason
from finetune_api.spec import Addressing, Storage
from finetune_trainer.storage import Download, PreconditionFailed, Store, open_store, retry, s3

from tests.unit.trainer.storage.conftest import S3Server
from tests.unit.trainer.storage.faults import Fault, Relay, relay_to

KIB = 2**10
PART = 1024 * KIB
SMALL = bytes(range(256)) * (4 * KIB)
"""One request fetches it."""
PARTS = 3
BIG = b"".join(block.to_bytes(4) * 256 for block in range(2 * KIB + 7))
"""Two parts and a bit; no two KiB of it are equal."""


@pytest.fixture
def relay(s3_server: S3Server) -> Iterator[Relay]:
    with relay_to(s3_server.endpoint) as made:
        yield made


@pytest.fixture
def store(relay: Relay, keys: None, monkeypatch: pytest.MonkeyPatch) -> Store:
    monkeypatch.setattr(retry, "BASE_SECONDS", 0.01)
    monkeypatch.setattr(s3, "DOWNLOAD_PART", PART)
    storage = Storage(endpoint=relay.endpoint, region="us-east-1", addressing=Addressing.PATH)
    return open_store(storage, allow_loopback=True)


@pytest.fixture
def small(store: Store, bucket: str) -> str:
    store.write(f"s3://{bucket}/small", SMALL)
    return f"s3://{bucket}/small"


@pytest.fixture
def big(store: Store, bucket: str) -> str:
    store.write(f"s3://{bucket}/big", BIG)
    return f"s3://{bucket}/big"


def test_a_big_object_comes_in_ranges_that_cover_it(
    store: Store, big: str, relay: Relay, tmp_path: Path
) -> None:
    store.download(big, tmp_path / "big")

    assert (tmp_path / "big").read_bytes() == BIG
    asked = sorted(
        tuple(map(int, str(each).removeprefix("bytes=").split("-"))) for each in relay.ranges
    )
    assert len(asked) == PARTS
    assert asked[0][0] == 0
    assert asked[-1][1] == len(BIG) - 1
    assert [last + 1 for _, last in asked[:-1]] == [first for first, _ in asked[1:]]


def test_small_and_empty_objects_come_in_one_request(
    store: Store, small: str, bucket: str, relay: Relay, tmp_path: Path
) -> None:
    store.write(f"s3://{bucket}/empty", b"")

    store.download(small, tmp_path / "small")
    store.download(f"s3://{bucket}/empty", tmp_path / "empty")

    assert (tmp_path / "small").read_bytes() == SMALL
    assert (tmp_path / "empty").read_bytes() == b""
    assert relay.ranges == [None, None]


@pytest.mark.parametrize(
    "fault",
    [
        Fault(status=503, code="SlowDown"),
        Fault(status=429, code="TooManyRequests"),
        Fault(status=500, code="InternalError"),
        Fault(cut_after=0),
        Fault(cut_after=100 * KIB),
    ],
    ids=lambda fault: f"{fault.status or ''}{fault.cut_after}",
)
def test_a_request_that_fails_for_the_moment_is_sent_again(
    store: Store, small: str, relay: Relay, tmp_path: Path, fault: Fault
) -> None:
    relay.faults.extend([fault, fault])

    store.download(small, tmp_path / "small")

    assert (tmp_path / "small").read_bytes() == SMALL
    assert len(relay.ranges) == 3


def test_what_had_arrived_is_not_fetched_again(
    store: Store, small: str, relay: Relay, tmp_path: Path
) -> None:
    relay.faults.append(Fault(cut_after=300 * KIB))

    store.download(small, tmp_path / "small")

    assert (tmp_path / "small").read_bytes() == SMALL
    first, second = relay.ranges
    begin = int(str(second).removeprefix("bytes=").partition("-")[0])
    assert first is None
    assert 0 < begin <= 300 * KIB


def test_a_store_that_stays_broken_is_given_up_and_leaves_nothing(
    store: Store, small: str, relay: Relay, tmp_path: Path
) -> None:
    relay.faults.extend([Fault(status=503)] * 100)

    with pytest.raises(InfrastructureError, match="SlowDown") as caught:
        store.download(small, tmp_path / "small")

    assert caught.value.reason is Reason.STORAGE_UNAVAILABLE
    assert len(relay.ranges) == retry.ATTEMPTS
    assert list(tmp_path.iterdir()) == []


def test_keys_that_are_refused_are_not_tried_again(
    store: Store, small: str, relay: Relay, tmp_path: Path
) -> None:
    relay.faults.append(Fault(status=403, code="AccessDenied"))

    with pytest.raises(UserError) as caught:
        store.download(small, tmp_path / "small")

    assert caught.value.reason is Reason.STORAGE_DENIED
    assert len(relay.ranges) == 1


def test_an_object_that_is_replaced_between_two_parts_is_no_mixture_of_both(
    store: Store, big: str, relay: Relay, tmp_path: Path
) -> None:
    def replace() -> None:
        store.write(big, b"x" * len(BIG))

    relay.faults.extend([Fault(cut_after=KIB), Fault(cut_after=KIB), Fault(before=replace)])

    with pytest.raises(PreconditionFailed):
        store.download(big, tmp_path / "down" / "big")

    assert list((tmp_path / "down").iterdir()) == []


def test_content_with_another_digest_than_expected_does_not_appear(
    store: Store, small: str, relay: Relay, tmp_path: Path
) -> None:
    digest = hashlib.sha256(SMALL).hexdigest()
    relay.faults.append(Fault(spoil=True))

    with pytest.raises(PreconditionFailed):
        store.download(small, tmp_path / "small", expected_sha256=digest)
    assert list(tmp_path.iterdir()) == []

    store.download(small, tmp_path / "small", expected_sha256=digest)
    assert (tmp_path / "small").read_bytes() == SMALL


def test_a_request_to_stop_does_not_wait_for_a_server_that_is_silent(
    store: Store, big: str, relay: Relay, tmp_path: Path
) -> None:
    relay.faults.extend([Fault(stall_after=KIB)] * PARTS)
    stopped_at = 0.0

    def watch(done: int, total: int) -> None:
        nonlocal stopped_at
        if len(relay.ranges) == PARTS:
            stopped_at = time.monotonic()
            raise InterruptedRunError(Reason.INTERRUPTED, "asked to stop")

    with pytest.raises(InterruptedRunError):
        store.download(big, tmp_path / "down" / "big", watch=watch)

    assert time.monotonic() - stopped_at < s3.READ_TIMEOUT / 4
    assert list((tmp_path / "down").iterdir()) == []


def test_progress_counts_each_byte_once_and_ends_at_the_whole(
    store: Store, small: str, big: str, relay: Relay, tmp_path: Path
) -> None:
    relay.faults.append(Fault(cut_after=200 * KIB))
    told: list[tuple[int, int]] = []
    infos = [store.stat(uri) for uri in (small, big)]
    downloads = [
        Download(info, tmp_path / name)
        for info, name in zip(infos, ("small", "big"), strict=True)
        if info is not None
    ]

    store.download_files(downloads, lambda done, total: told.append((done, total)))

    assert (tmp_path / "small").read_bytes() == SMALL
    assert (tmp_path / "big").read_bytes() == BIG
    assert {total for _, total in told} == {len(SMALL) + len(BIG)}
    assert [done for done, _ in told] == sorted(done for done, _ in told)
    assert told[-1][0] == len(SMALL) + len(BIG)


def test_a_disk_that_is_too_small_is_named_before_anything_is_fetched(
    store: Store, small: str, relay: Relay, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("shutil.disk_usage", lambda _: type("Usage", (), {"free": 10}))

    with pytest.raises(InfrastructureError, match="larger disk"):
        store.download(small, tmp_path / "small")

    assert relay.ranges == []


def test_what_a_killed_download_left_is_used_up_by_the_next(
    store: Store, small: str, tmp_path: Path
) -> None:
    (tmp_path / ".incoming-small").write_bytes(b"x" * 2**21)

    store.download(small, tmp_path / "small")

    assert [path.name for path in tmp_path.iterdir()] == ["small"]
    assert (tmp_path / "small").read_bytes() == SMALL


def test_an_upload_that_did_not_arrive_whole_is_an_error(
    store: Store, bucket: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "up").write_bytes(SMALL)
    store.stat(f"s3://{bucket}/up")  # makes the client, whose class is then known
    client = type(store._s3._client)  # type: ignore[attr-defined]
    monkeypatch.setattr(client, "upload_fileobj", lambda *_, **__: None)

    with pytest.raises(InfrastructureError, match="nothing lies there"):
        store.upload(tmp_path / "up", f"s3://{bucket}/up")
