"""The store of a run: each address goes to the store of its scheme."""

from collections.abc import Iterator
from functools import cached_property
from pathlib import Path

from finetune_api.errors import UserError
from finetune_api.reasons import Reason
from finetune_api.spec import Storage

from finetune_trainer.storage.addresses import checked_target, relative_to, scheme_of
from finetune_trainer.storage.files import FileStore
from finetune_trainer.storage.s3 import S3Store
from finetune_trainer.storage.store import DEFAULT_READ_LIMIT, ObjectInfo, Store


def open_store(storage: Storage, *, allow_loopback: bool) -> Store:
    """The store that `storage` describes.

    Nothing is contacted yet; credentials come from the environment as boto3 finds them.
    `allow_loopback` lets an endpoint on this machine through, for local runs.
    """
    return _RoutedStore(storage, allow_loopback)


class _RoutedStore:
    """A Store over s3:// and file:// addresses; the S3 client is made when first needed."""

    def __init__(self, storage: Storage, allow_loopback: bool) -> None:
        self._storage = storage
        self._allow_loopback = allow_loopback
        self._files = FileStore()

    @cached_property
    def _s3(self) -> S3Store:
        return S3Store(self._storage, allow_loopback=self._allow_loopback)

    def _of(self, uri: str) -> FileStore | S3Store:
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

    def download(self, uri: str, path: Path, expected_etag: str | None = None) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        self._of(uri).download(uri, path, expected_etag)

    def download_folder(self, uri: str, path: Path) -> None:
        empty = True
        for info in self.list(uri):
            empty = False
            self.download(info.uri, checked_target(path, relative_to(info.uri, uri)), info.etag)
        if empty:
            raise UserError(
                Reason.STORAGE_NOT_FOUND,
                "the folder holds nothing or does not exist; check bucket and key",
                where=uri,
            )

    def upload(self, path: Path, uri: str) -> None:
        self._of(uri).upload(path, uri)

    def write(
        self, uri: str, data: bytes, *, if_match: str | None = None, if_absent: bool = False
    ) -> str:
        return self._of(uri).write(uri, data, if_match=if_match, if_absent=if_absent)

    def delete(self, uri: str) -> None:
        self._of(uri).delete(uri)
