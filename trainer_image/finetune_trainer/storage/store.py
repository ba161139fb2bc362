"""What a store of objects can do, whatever it is made of."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from finetune_api.errors import InfrastructureError
from finetune_api.reasons import Reason

DEFAULT_READ_LIMIT = 64 * 2**20
"""Bytes that `Store.read` accepts unless told otherwise: it is for small files."""


class PreconditionFailed(Exception):
    """A conditional write or download found another object than it expected."""

    def __init__(self, uri: str) -> None:
        super().__init__(f"{uri} is not what it was expected to be: someone else wrote it")
        self.uri = uri


def changed_meanwhile(error: PreconditionFailed) -> InfrastructureError:
    """What a failed download means to a run: a later attempt may succeed."""
    return InfrastructureError(
        Reason.STORAGE_UNAVAILABLE,
        "changed while it was being fetched, or arrived damaged",
        where=error.uri,
    )


@dataclass(frozen=True)
class ObjectInfo:
    """One object."""

    uri: str
    """Its full address."""
    size: int
    """Bytes."""
    etag: str
    """Changes whenever the object is written anew; compare it, do not interpret it."""


@dataclass(frozen=True)
class Download:
    """An object that is to lie at `path`."""

    info: ObjectInfo
    """As it was listed; another version is a PreconditionFailed."""
    path: Path
    sha256: str | None = None
    """Digest that its content must have, in hexadecimal, where it is known."""


Watch = Callable[[int, int], None]
"""Told of a download: (bytes done, bytes in all), several times a second, in the thread that
asked for it. What it raises ends the download within a second."""


class Store(Protocol):
    """Objects by address.

    Every method raises `UserError` where the job's owner must act (StorageNotFound naming the
    bucket or key, StorageDenied, CredentialsMissing) and `InfrastructureError`
    (StorageUnavailable) where a later try may succeed, after the retries of its own.
    """

    def stat(self, uri: str) -> ObjectInfo | None:
        """The object at `uri`, or None; a missing bucket is an error."""

    def read(self, uri: str, max_bytes: int = DEFAULT_READ_LIMIT) -> bytes:
        """Content of a small object; one above `max_bytes` is a UserError."""

    def read_with_etag(self, uri: str, max_bytes: int = DEFAULT_READ_LIMIT) -> tuple[bytes, str]:
        """(content, etag) of one and the same version of the object."""

    def list(self, prefix_uri: str) -> Iterator[ObjectInfo]:
        """All objects in the folder `prefix_uri` and its subfolders, in order of address."""

    def download(
        self,
        uri: str,
        path: Path,
        expected_etag: str | None = None,
        *,
        expected_sha256: str | None = None,
        watch: Watch | None = None,
    ) -> None:
        """Copy an object to `path`, which appears complete or not at all.

        Raises PreconditionFailed when the object's etag is not `expected_etag`, its content has
        not the digest `expected_sha256`, or it changes meanwhile.
        """

    def download_files(self, downloads: Sequence[Download], watch: Watch | None = None) -> None:
        """Copy several objects at once; each appears complete or not at all.

        Raises PreconditionFailed as `download` does.
        """

    def upload(self, path: Path, uri: str) -> None:
        """Copy a file to `uri`, in parts where it is big; the object appears complete."""

    def write(
        self, uri: str, data: bytes, *, if_match: str | None = None, if_absent: bool = False
    ) -> str:
        """Write a small object and return its etag.

        With `if_match` only over the version of that etag, with `if_absent` only where nothing
        lies; PreconditionFailed otherwise.
        """

    def delete(self, uri: str) -> None:
        """Remove an object; a missing one is no error."""
