"""Objects in an S3-compatible store, through boto3."""

import base64
import hashlib
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import boto3
from boto3.s3.transfer import TransferConfig
from botocore.config import Config
from botocore.exceptions import ClientError
from finetune_api.errors import InfrastructureError
from finetune_api.reasons import Reason
from finetune_api.spec import Addressing, Storage

from finetune_trainer.storage.addresses import split_s3
from finetune_trainer.storage.endpoints import check_host
from finetune_trainer.storage.files import too_big
from finetune_trainer.storage.s3_errors import is_missing_key, missing_bucket, s3_errors
from finetune_trainer.storage.store import Download, ObjectInfo, PreconditionFailed, Watch
from finetune_trainer.storage.transfer import CHUNK, THREADS, transfer

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client

CONNECT_TIMEOUT = 10
"""Seconds."""
READ_TIMEOUT = 60
"""Seconds without a byte."""
ATTEMPTS = 6
"""Of each request, with exponential backoff and jitter between them (botocore's standard mode)."""
UPLOAD_PART = 16 * 2**20
"""Bytes of a part of a big upload; some of them are held in memory."""
DOWNLOAD_PART = 64 * 2**20
"""Bytes of a part of a big download: each costs a request, none is fetched twice."""
PARALLEL_UPLOADS = 16
DEFAULT_REGION = "us-east-1"
"""What S3-compatible stores without regions expect in a signature."""

_STYLES: dict[Addressing, Literal["auto", "path", "virtual"]] = {
    Addressing.AUTO: "auto",
    Addressing.PATH: "path",
    Addressing.VIRTUAL: "virtual",
}


class S3Store:
    """The part of a Store that serves `s3://` addresses."""

    def __init__(self, storage: Storage, *, allow_loopback: bool) -> None:
        self._allow_loopback = allow_loopback
        self._known_buckets: set[str] = set()
        session = boto3.session.Session()
        self._client = _make_client(session, storage, attempts=ATTEMPTS)
        # Parts are tried again by `transfer`, which goes on where an answer broke off.
        self._parts = _make_client(session, storage, attempts=1)
        for client in (self._client, self._parts):
            client.meta.events.register("before-send.s3", self._check_request)
        self._transfer = TransferConfig(
            multipart_threshold=UPLOAD_PART,
            multipart_chunksize=UPLOAD_PART,
            max_concurrency=PARALLEL_UPLOADS,
            preferred_transfer_client="classic",
        )

    def _check_request(self, request: Any, **_: Any) -> None:
        # Looked at for each request: a bucket becomes part of the host name, and stores redirect.
        check_host(request.url, allow_loopback=self._allow_loopback)

    def stat(self, uri: str) -> ObjectInfo | None:
        bucket, key = split_s3(uri)
        with s3_errors(uri):
            try:
                answer = self._client.head_object(Bucket=bucket, Key=key)
            except ClientError as error:
                if not is_missing_key(error):
                    raise
                self._check_bucket(uri)
                return None
        return ObjectInfo(uri, answer["ContentLength"], answer["ETag"])

    def read_with_etag(self, uri: str, max_bytes: int) -> tuple[bytes, str]:
        bucket, key = split_s3(uri)
        with s3_errors(uri):
            answer = self._client.get_object(Bucket=bucket, Key=key)
            with closing(answer["Body"]) as body:
                if answer["ContentLength"] > max_bytes:
                    raise too_big(uri, answer["ContentLength"], max_bytes)
                return body.read(), answer["ETag"]

    def list(self, prefix_uri: str) -> Iterator[ObjectInfo]:
        bucket, key = split_s3(prefix_uri)
        pages = self._client.get_paginator("list_objects_v2")
        prefix = f"{key}/" if key else ""
        with s3_errors(prefix_uri):
            for page in pages.paginate(Bucket=bucket, Prefix=prefix):
                for item in page.get("Contents", []):
                    if not item["Key"].endswith("/"):
                        uri = f"s3://{bucket}/{item['Key']}"
                        yield ObjectInfo(uri, item["Size"], item["ETag"])

    def download_files(self, downloads: Sequence[Download], watch: Watch | None) -> None:
        transfer(downloads, self._open_range, part_size=DOWNLOAD_PART, watch=watch)

    @contextmanager
    def _open_range(self, info: ObjectInfo, begin: int, end: int) -> Iterator[Iterator[bytes]]:
        bucket, key = split_s3(info.uri)
        whole = (begin, end) == (0, info.size)
        asked: dict[str, Any] = {} if whole else {"Range": f"bytes={begin}-{end - 1}"}
        with s3_errors(info.uri):
            answer = self._parts.get_object(Bucket=bucket, Key=key, IfMatch=info.etag, **asked)
            with closing(answer["Body"]) as body:
                # Not every store looks at If-Match.
                if answer["ETag"] != info.etag:
                    raise PreconditionFailed(info.uri)
                yield body.iter_chunks(CHUNK)

    def upload(self, path: Path, uri: str) -> None:
        bucket, key = split_s3(uri)
        with s3_errors(uri), path.open("rb") as source:
            self._client.upload_fileobj(
                source,
                bucket,
                key,
                # The store refuses a part whose bytes have another digest than was sent with it.
                ExtraArgs={"ChecksumAlgorithm": "SHA256"},
                Config=self._transfer,
            )
        found, size = self.stat(uri), path.stat().st_size
        if found is None or found.size != size:
            raise InfrastructureError(
                Reason.STORAGE_UNAVAILABLE,
                f"{size} bytes were uploaded and {found.size if found else 'nothing'} lies there",
                where=uri,
            )

    def write(self, uri: str, data: bytes, *, if_match: str | None, if_absent: bool) -> str:
        bucket, key = split_s3(uri)
        condition: dict[str, Any] = {}
        if if_match is not None:
            condition["IfMatch"] = if_match
        if if_absent:
            condition["IfNoneMatch"] = "*"
        digest = base64.b64encode(hashlib.sha256(data).digest()).decode()
        with s3_errors(uri):
            try:
                answer = self._client.put_object(
                    Bucket=bucket, Key=key, Body=data, ChecksumSHA256=digest, **condition
                )
            except ClientError as error:
                # S3 answers 404 to If-Match on a key that has gone.
                if if_match is not None and is_missing_key(error):
                    raise PreconditionFailed(uri) from error
                raise
        return answer["ETag"]

    def delete(self, uri: str) -> None:
        bucket, key = split_s3(uri)
        with s3_errors(uri):
            self._client.delete_object(Bucket=bucket, Key=key)

    def _check_bucket(self, uri: str) -> None:
        """A 404 without a body does not say whether the key or the bucket is missing: ask."""
        bucket, _ = split_s3(uri)
        if bucket in self._known_buckets:
            return
        try:
            self._client.head_bucket(Bucket=bucket)
        except ClientError as error:
            if is_missing_key(error):
                raise missing_bucket(uri) from error
            raise
        self._known_buckets.add(bucket)


def _make_client(session: boto3.session.Session, storage: Storage, attempts: int) -> "S3Client":
    return session.client(
        "s3",
        endpoint_url=storage.endpoint,
        region_name=storage.region or (DEFAULT_REGION if storage.endpoint else None),
        config=Config(
            connect_timeout=CONNECT_TIMEOUT,
            read_timeout=READ_TIMEOUT,
            retries={"mode": "standard", "total_max_attempts": attempts},
            max_pool_connections=max(THREADS, PARALLEL_UPLOADS),
            s3={"addressing_style": _STYLES[storage.addressing]},
            # Checksums are given where we want them; older stores stumble over trailers.
            request_checksum_calculation="when_required",
            response_checksum_validation="when_required",
        ),
    )
