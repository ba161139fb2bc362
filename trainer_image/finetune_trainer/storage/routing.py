"""The store of a run: each address goes to the store of its scheme."""

from collections.abc import Iterator, Sequence
from functools import cached_property, partial
from itertools import groupby
from pathlib import Path
from typing import TYPE_CHECKING

from finetune_api.errors import UserError
from finetune_api.reasons import Reason
from finetune_api.spec import Storage

from finetune_trainer.storage.addresses import scheme_of
from finetune_trainer.storage.files import FileStore
from finetune_trainer.storage.s3 import S3Store
from finetune_trainer.storage.store import (
    DEFAULT_READ_LIMIT,
    Download,
    ObjectInfo,
    PreconditionFailed,
    Store,
    Watch,
)

if TYPE_CHECKING:
    from finetune_trainer.storage.hub import HubStore


def open_store(storage: Storage, *, allow_loopback: bool) -> Store:
    """The store that `storage` describes.

    Nothing is contacted yet; credentials come from the environment as boto3 finds them.
    `allow_loopback` lets an endpoint on this machine through, for local runs.
    """
    return _RoutedStore(storage, allow_loopback)


class _RoutedStore:
    """A Store over s3://, file:// and hf:// addresses; clients are made when first needed."""

    def __init__(self, storage: Storage, allow_loopback: bool) -> None:
        self._storage = storage
        self._allow_loopback = allow_loopback
        self._files = FileStore()

    @cached_property
    def _s3(self) -> S3Store:
        return S3Store(self._storage, allow_loopback=self._allow_loopback)

    @cached_property
    def _hub(self) -> "HubStore":
        # Loaded by the jobs that read from the hub only.
        from finetune_trainer.storage.hub import HubStore

        return HubStore(allow_loopback=self._allow_loopback)

    def _of(self, uri: str) -> "FileStore | S3Store | HubStore":
        return self._hub if scheme_of(uri) == "hf" else self._writable(uri)

    def _writable(self, uri: str) -> FileStore | S3Store:
        scheme = scheme_of(uri)
        if scheme == "s3":
            return self._s3
        if scheme == "file":
            return self._files
        raise UserError(Reason.INVALID_SPEC, "write s3://BUCKET/KEY or file:///PATH", where=uri)

    def stat(self, uri: str) -> ObjectInfo | None:
        return self._of(uri).stat(uri)

    def read(self, uri: str, max_bytes: int = DEFAULT_READ_LIMIT) -> bytes:
        return self.read_with_etag(uri, max_bytes)[0]

    def read_with_etag(self, uri: str, max_bytes: int = DEFAULT_READ_LIMIT) -> tuple[bytes, str]:
        return self._of(uri).read_with_etag(uri, max_bytes)

    def list(self, prefix_uri: str) -> Iterator[ObjectInfo]:
        return self._of(prefix_uri).list(prefix_uri)

    def download(
        self,
        uri: str,
        path: Path,
        expected_etag: str | None = None,
        *,
        expected_sha256: str | None = None,
        watch: Watch | None = None,
    ) -> None:
        found = self.stat(uri)
        if found is None:
            raise _missing(uri)
        if expected_etag not in (None, found.etag):
            raise PreconditionFailed(uri)
        self.download_files([Download(found, path, expected_sha256)], watch)

    def download_files(self, downloads: Sequence[Download], watch: Watch | None = None) -> None:
        total, before = sum(each.info.size for each in downloads), 0
        for scheme, group in groupby(downloads, lambda each: scheme_of(each.info.uri)):
            some = list(group)
            tell = None if watch is None else partial(_tell, watch, before, total)
            self._of(f"{scheme}://").download_files(some, tell)
            before += sum(each.info.size for each in some)

    def upload(self, path: Path, uri: str) -> None:
        self._writable(uri).upload(path, uri)

    def write(
        self, uri: str, data: bytes, *, if_match: str | None = None, if_absent: bool = False
    ) -> str:
        return self._writable(uri).write(uri, data, if_match=if_match, if_absent=if_absent)

    def delete(self, uri: str) -> None:
        self._writable(uri).delete(uri)


def _missing(uri: str) -> UserError:
    return UserError(
        Reason.STORAGE_NOT_FOUND, "nothing lies here; check the whole address", where=uri
    )


def _tell(watch: Watch, before: int, total: int, done: int, _of: int) -> None:
    """Report a part of a download as progress of the whole."""
    watch(before + done, total)
