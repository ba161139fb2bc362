"""Objects in the file system, for local runs."""

import fcntl
import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from finetune_api.errors import FineTuneError, InfrastructureError, UserError
from finetune_api.reasons import Reason

from finetune_trainer.storage.addresses import file_path
from finetune_trainer.storage.store import ObjectInfo, PreconditionFailed

TEMPORARY_PREFIX = ".incoming-"
"""Files that are still being written; they are no objects yet."""


class FileStore:
    """The part of a Store that serves `file://` addresses.

    Conditional writes hold a lock on the object's folder, so they are atomic between the
    processes of one machine.
    """

    def stat(self, uri: str) -> ObjectInfo | None:
        with _errors_of(uri):
            path = file_path(uri)
            return _info(path) if path.is_file() else None

    def read_with_etag(self, uri: str, max_bytes: int) -> tuple[bytes, str]:
        with _errors_of(uri), file_path(uri).open("rb") as file:
            status = os.fstat(file.fileno())
            if status.st_size > max_bytes:
                raise too_big(uri, status.st_size, max_bytes)
            return file.read(), _etag(status)

    def list(self, prefix_uri: str) -> Iterator[ObjectInfo]:
        with _errors_of(prefix_uri):
            base = file_path(prefix_uri)
            found = [path for path in base.rglob("*") if path.is_file()]
            for path in sorted(found):
                if not path.name.startswith(TEMPORARY_PREFIX):
                    yield _info(path, f"{prefix_uri.rstrip('/')}/{path.relative_to(base)}")

    def download(self, uri: str, path: Path, expected_etag: str | None) -> None:
        with _errors_of(uri), file_path(uri).open("rb") as source:
            if expected_etag not in (None, _etag(os.fstat(source.fileno()))):
                raise PreconditionFailed(uri)
            with replacing(path) as temporary, temporary.open("wb") as target:
                shutil.copyfileobj(source, target, length=2**20)

    def upload(self, path: Path, uri: str) -> None:
        with _errors_of(uri):
            target = file_path(uri)
            target.parent.mkdir(parents=True, exist_ok=True)
            with replacing(target) as temporary:
                shutil.copyfile(path, temporary)

    def write(self, uri: str, data: bytes, *, if_match: str | None, if_absent: bool) -> str:
        with _errors_of(uri):
            target = file_path(uri)
            target.parent.mkdir(parents=True, exist_ok=True)
            with _folder_lock(target.parent):
                found = _info(target).etag if target.is_file() else None
                if (if_absent and found is not None) or (if_match not in (None, found)):
                    raise PreconditionFailed(uri)
                with replacing(target) as temporary:
                    temporary.write_bytes(data)
                return _info(target).etag

    def delete(self, uri: str) -> None:
        with _errors_of(uri):
            file_path(uri).unlink(missing_ok=True)


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """A temporary file beside `path` that takes its place at the end, or is removed on errors."""
    handle, name = tempfile.mkstemp(prefix=TEMPORARY_PREFIX, dir=path.parent)
    os.close(handle)
    temporary = Path(name)
    try:
        yield temporary
        temporary.chmod(0o644)
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)


def too_big(uri: str, size: int, limit: int) -> FineTuneError:
    """The error for an object that should be small and is not."""
    return UserError(
        Reason.INVALID_DATA, f"is {size} bytes; at most {limit} are read here", where=uri
    )


@contextmanager
def _folder_lock(folder: Path) -> Iterator[None]:
    handle = os.open(folder, os.O_RDONLY)
    try:
        fcntl.flock(handle, fcntl.LOCK_EX)
        yield
    finally:
        os.close(handle)


def _info(path: Path, uri: str | None = None) -> ObjectInfo:
    status = path.stat()
    return ObjectInfo(uri or path.as_uri(), status.st_size, _etag(status))


def _etag(status: os.stat_result) -> str:
    return f"{status.st_size}-{status.st_mtime_ns}-{status.st_ino}"


@contextmanager
def _errors_of(uri: str) -> Iterator[None]:
    """Turn the file system's errors into ours."""
    try:
        yield
    except (FileNotFoundError, NotADirectoryError, IsADirectoryError) as error:
        raise UserError(
            Reason.STORAGE_NOT_FOUND, "no such file; check the path", where=uri
        ) from error
    except PermissionError as error:
        raise UserError(
            Reason.STORAGE_DENIED, "no permission; check who may read and write it", where=uri
        ) from error
    except OSError as error:
        raise InfrastructureError(
            Reason.STORAGE_UNAVAILABLE, f"the file system failed: {error.strerror}", where=uri
        ) from error
