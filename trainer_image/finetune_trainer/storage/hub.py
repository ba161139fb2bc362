"""Models at `hf://ORG/NAME@REVISION` on the Hugging Face Hub, or a mirror of it; read only.

Names, tokens, redirects and errors are huggingface_hub's matter; the bytes come as they do from
S3, by `transfer`. Files whose content lies in large-file storage are checked against its SHA-256.
"""

import json
import os
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import partial

import httpx2
from finetune_api.errors import InfrastructureError
from finetune_api.reasons import Reason
from huggingface_hub import (
    HfApi,
    constants,
    get_session,
    hf_hub_url,
    set_client_factory,
)
from huggingface_hub.utils import (  # type: ignore[attr-defined]  # documented, not in __all__
    build_hf_headers,
    hf_raise_for_status,
)

from finetune_trainer.storage.addresses import HubAddress, split_hub
from finetune_trainer.storage.endpoints import check_host
from finetune_trainer.storage.files import too_big
from finetune_trainer.storage.hub_errors import hub_errors, missing
from finetune_trainer.storage.retry import retrying
from finetune_trainer.storage.store import Download, ObjectInfo, PreconditionFailed, Watch
from finetune_trainer.storage.transfer import CHUNK, THREADS, transfer

CONNECT_TIMEOUT = 10
"""Seconds."""
READ_TIMEOUT = 60
"""Seconds without a byte."""
PART_SIZE = 128 * 2**20
"""Bytes of a part; the hub counts requests, some thousands are free in five minutes."""
ENDPOINT_SETTING = "HF_ENDPOINT in podTemplate.env"
_SHA256_LENGTH = 64


@dataclass(frozen=True)
class _Snapshot:
    """A repository at one commit."""

    commit: str
    files: dict[str, ObjectInfo]
    """By path. The etag is the SHA-256 of a file in large-file storage, else its git blob id."""


class HubStore:
    """The part of a Store that reads `hf://` addresses.

    A branch is looked up once and stays at that commit for the life of the store, so that all
    files of a model are of one version.
    """

    def __init__(self, *, allow_loopback: bool) -> None:
        # HF_HUB_OFFLINE keeps libraries off the hub; an hf:// address, be it of the base of an
        # adapter in S3, says that this model is read from it.
        constants.HF_HUB_OFFLINE = False
        self._snapshots: dict[str, _Snapshot] = {}
        self._endpoint = os.environ.get("HF_ENDPOINT") or None
        self._api = HfApi(endpoint=self._endpoint)
        set_client_factory(partial(_make_client, allow_loopback))

    def stat(self, uri: str) -> ObjectInfo | None:
        address = split_hub(uri)
        return self._snapshot(uri).files.get(address.path)

    def read_with_etag(self, uri: str, max_bytes: int) -> tuple[bytes, str]:
        info = self.stat(uri)
        if info is None:
            raise missing(uri)
        if info.size > max_bytes:
            raise too_big(uri, info.size, max_bytes)
        return retrying(partial(self._read, info), pause=time.sleep), info.etag

    def list(self, prefix_uri: str) -> Iterator[ObjectInfo]:
        folder = split_hub(prefix_uri).path.rstrip("/")
        for path, info in sorted(self._snapshot(prefix_uri).files.items()):
            if not folder or path.startswith(f"{folder}/"):
                yield info

    def download_files(self, downloads: Sequence[Download], watch: Watch | None) -> None:
        known = [_with_digest(each) for each in downloads]
        transfer(known, self._open_range, part_size=PART_SIZE, watch=watch)

    def _snapshot(self, uri: str) -> _Snapshot:
        address = split_hub(uri)
        base = uri.removesuffix(address.path).rstrip("/")
        if base not in self._snapshots:
            look_up = partial(self._look_up, address, base, uri)
            self._snapshots[base] = retrying(look_up, pause=time.sleep)
        return self._snapshots[base]

    def _look_up(self, address: HubAddress, base: str, uri: str) -> _Snapshot:
        with hub_errors(uri):
            try:
                found = self._api.model_info(
                    address.repository,
                    revision=address.revision,
                    files_metadata=True,
                    timeout=READ_TIMEOUT,
                )
            except (json.JSONDecodeError, KeyError, TypeError) as error:
                raise _incomplete(uri) from error  # no JSON, or not the hub's
        files = {}
        for each in found.siblings or []:
            etag = each.lfs.sha256 if each.lfs is not None else each.blob_id
            if each.size is None or etag is None:
                raise _incomplete(uri)
            files[each.rfilename] = ObjectInfo(f"{base}/{each.rfilename}", each.size, etag)
        if found.sha is None:
            raise _incomplete(uri)
        return _Snapshot(found.sha, files)

    @contextmanager
    def _open_range(self, info: ObjectInfo, begin: int, end: int) -> Iterator[Iterator[bytes]]:
        whole = (begin, end) == (0, info.size)
        headers = {**build_hf_headers(), "Accept-Encoding": "identity"}
        if not whole:
            headers["Range"] = f"bytes={begin}-{end - 1}"
        url = self._url(info)
        with hub_errors(info.uri), get_session().stream("GET", url, headers=headers) as answer:
            if answer.is_error:
                answer.read()
            hf_raise_for_status(answer)
            if not whole and answer.status_code != httpx2.codes.PARTIAL_CONTENT:
                raise _incomplete(info.uri)
            yield answer.iter_raw(CHUNK)

    def _read(self, info: ObjectInfo) -> bytes:
        with self._open_range(info, 0, info.size) as chunks:
            content = b"".join(chunks)
        if len(content) != info.size:
            raise _incomplete(info.uri)
        return content

    def _url(self, info: ObjectInfo) -> str:
        address = split_hub(info.uri)
        snapshot = self._snapshot(info.uri)
        if snapshot.files.get(address.path) != info:
            raise PreconditionFailed(info.uri)
        # By commit: content that cannot change.
        return hf_hub_url(
            address.repository,
            address.path,
            revision=snapshot.commit,
            endpoint=self._endpoint,
        )


def _make_client(allow_loopback: bool) -> httpx2.Client:
    """The connections that huggingface_hub uses from now on."""

    def check(request: httpx2.Request) -> None:
        # Of redirects too: a mirror that the job names may send them anywhere.
        check_host(str(request.url), allow_loopback=allow_loopback, setting=ENDPOINT_SETTING)

    return httpx2.Client(
        event_hooks={"request": [check]},
        follow_redirects=True,
        timeout=httpx2.Timeout(READ_TIMEOUT, connect=CONNECT_TIMEOUT),
        limits=httpx2.Limits(max_connections=2 * THREADS),
    )


def _with_digest(wanted: Download) -> Download:
    etag = wanted.info.etag
    if wanted.sha256 is None and len(etag) == _SHA256_LENGTH:
        return replace(wanted, sha256=etag)
    return wanted


def _incomplete(uri: str) -> InfrastructureError:
    return InfrastructureError(
        Reason.STORAGE_UNAVAILABLE,
        "the hub's answer is incomplete; if HF_ENDPOINT names a mirror, look at it",
        where=uri,
    )
