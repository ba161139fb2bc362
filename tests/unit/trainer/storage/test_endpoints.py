"""A job's endpoint may not lead to the pod itself or to a cloud's metadata service."""

import socket
from typing import Any

import pytest
from finetune_api.errors import InfrastructureError, UserError
from finetune_api.reasons import Reason
from finetune_api.spec import Addressing, Storage
from finetune_trainer.storage import open_store
from finetune_trainer.storage.endpoints import check_host


@pytest.mark.parametrize(
    "host",
    [
        "169.254.169.254",
        "169.254.170.2",
        "[fd00:ec2::254]",
        "[fe80::1]",
        "[::ffff:169.254.169.254]",
        "100.100.100.200",
        "127.0.0.1",
        "[::1]",
        "0.0.0.0",
        "localhost",
        "2852039166",  # 169.254.169.254 as one number
    ],
)
def test_forbidden_hosts_are_refused_before_anything_is_sent(host: str) -> None:
    with pytest.raises(UserError) as caught:
        check_host(f"http://{host}:9000/bucket", allow_loopback=False)

    assert caught.value.reason is Reason.INVALID_SPEC
    assert caught.value.where == "storage.endpoint"


def test_a_local_run_may_use_this_machine_but_no_metadata_service() -> None:
    check_host("http://127.0.0.1:9000", allow_loopback=True)
    with pytest.raises(UserError):
        check_host("http://169.254.169.254", allow_loopback=True)


def test_addresses_of_a_private_network_are_allowed() -> None:
    check_host("http://10.96.0.10:9000", allow_loopback=False)


def test_a_name_that_leads_to_a_forbidden_address_is_refused(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def resolve(host: str, *_: Any, **__: Any) -> list[Any]:
        assert host == "bucket.store.example"
        return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", ("169.254.169.254", 0))]

    monkeypatch.setattr(socket, "getaddrinfo", resolve)
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "a")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "b")
    storage = Storage(endpoint="http://store.example", addressing=Addressing.VIRTUAL)

    with pytest.raises(UserError, match="metadata"):
        open_store(storage, allow_loopback=False).read("s3://bucket/key")


def test_a_name_that_does_not_resolve_is_unavailable() -> None:
    with pytest.raises(InfrastructureError) as caught:
        check_host("http://store.invalid", allow_loopback=False)

    assert caught.value.reason is Reason.STORAGE_UNAVAILABLE
    assert "check storage.endpoint" in caught.value.message
