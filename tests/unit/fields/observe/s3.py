"""The requests that the trainer sends to the store."""

import os
import socket
from collections.abc import Iterator
from io import BytesIO
from typing import Any
from unittest.mock import patch

from botocore.awsrequest import AWSResponse
from botocore.compat import HTTPHeaders
from botocore.httpsession import URLLib3Session
from finetune_api.spec import FineTuneJobSpec
from finetune_trainer.storage import open_store

from tests.unit.fields.bench import Bench

KEYS = {"AWS_ACCESS_KEY_ID": "id", "AWS_SECRET_ACCESS_KEY": "key"}


def address(_bench: Bench, spec: FineTuneJobSpec) -> object:
    """The URL that an object is written to."""
    return _request(spec).url


def signed_region(_bench: Bench, spec: FineTuneJobSpec) -> object:
    """The region in the scope of the signature."""
    header: bytes = _request(spec).headers["Authorization"]
    return header.decode().split("/")[2]


def _request(spec: FineTuneJobSpec) -> Any:
    """A signed request as it would leave this machine."""
    sent: list[Any] = []

    def send(_session: URLLib3Session, request: Any) -> AWSResponse:
        sent.append(request)
        return AWSResponse(request.url, 200, HTTPHeaders.from_dict({"ETag": '"1"'}), _Empty())

    anywhere = [(socket.AF_INET, socket.SOCK_STREAM, 0, "", ("192.0.2.1", 0))]
    with (
        patch.dict(os.environ, KEYS),
        patch.object(URLLib3Session, "send", send),
        patch.object(socket, "getaddrinfo", return_value=anywhere),
    ):
        open_store(spec.storage, allow_loopback=False).write("s3://bucket/key", b"")
    return sent[0]


class _Empty(BytesIO):
    """The body of an answer without one."""

    def stream(self, **_: Any) -> Iterator[bytes]:
        yield from ()
