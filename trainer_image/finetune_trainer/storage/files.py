"""Objects in the file system, for local runs."""

import fcntl
import hashlib
import os
import shutil
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from finetune_api.errors import FineTuneError, InfrastructureError, UserError
from finetune_api.reasons import Reason

from finetune_trainer.storage.addresses import file_path
from finetune_trainer.storage.store import Download, ObjectInfo, PreconditionFailed, Watch

TEMPORARY_PREFIX = ".incoming-"
"""Files that are still being written; they are no objects yet."""
_BLOCK = 2**20


class FileStore:
    """The part of a Store that serves `file://` addresses.

    Conditional writes hold a lock on the object's folder, so they are atomic between the
    processes of one machine.
    """

    def stat(self, uri: str) -> ObjectInfo | None:
        with file_errors(uri):
            path = file_path(uri)
            return _info(path) if path.is_file() else None

    def read_with_etag(self, uri: str, max_bytes: int) -> tuple[bytes, str]:
        with file_errors(uri), file_path(uri).open("rb") as file:
            status = os.fstat(file.fileno())
            if status.st_size > max_bytes:
                raise too_big(uri, status.st_size, max_bytes)
            return file.read(), _etag(status)

    def list(self, prefix_uri: str) -> Iterator[ObjectInfo]:
        with file_errors(prefix_uri):
            base = file_path(prefix_uri)
            found = [path for path in base.rglob("*") if path.is_file()]
            for path in sorted(found):
                if not path.name.startswith(TEMPORARY_PREFIX):
                    yield _info(path, f"{prefix_uri.rstrip('/')}/{path.relative_to(base)}")

    def download_files(self, downloads: Sequence[Download], watch: Watch | None) -> None:
        total, done = sum(each.info.size for each in downloads), 0
        for each in downloads:
            with file_errors(each.info.uri):
                for count in _copy(each):
                    done += count
                    if watch is not None:
                        watch(done, total)

    def upload(self, path: Path, uri: str) -> None:
        with file_errors(uri):
            target = file_path(uri)
            target.parent.mkdir(parents=True, exist_ok=True)
            with replacing(target) as temporary:
                shutil.copyfile(path, temporary)

    def write(self, uri: str, data: bytes, *, if_match: str | None, if_absent: bool) -> str:
        with file_errors(uri):
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
        with file_errors(uri):
            file_path(uri).unlink(missing_ok=True)


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """A temporary file beside `path` that takes its place at the end, or is removed on errors."""
    handle, name = tempfile.mkstemp(prefix=TEMPORARY_PREFIX, dir=path.parent)
    os.close(handle)
    temporary = Path(name)
    try:
        yield temporary
        put_in_place(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)


def incoming(path: Path, size: int) -> Path:
    """A temporary file of `size` bytes beside `path`, to be filled in any order.

    Its name depends on `path` alone, so that what a killed process left there is used again
    rather than left for good.
    """
    temporary = path.with_name(f"{TEMPORARY_PREFIX}{path.name}")
    with temporary.open("wb") as file:
        file.truncate(size)
    return temporary


def put_in_place(temporary: Path, path: Path) -> None:
    """Give a complete temporary file its name."""
    temporary.chmod(0o644)
    temporary.replace(path)


def too_big(uri: str, size: int, limit: int) -> FineTuneError:
    """The error for an object that should be small and is not."""
    return UserError(
        Reason.INVALID_DATA, f"is {size} bytes; at most {limit} are read here", where=uri
    )


def _copy(wanted: Download) -> Iterator[int]:
    """Copy a file; gives the bytes of each step."""
    uri, digest = wanted.info.uri, hashlib.sha256()
    with file_path(uri).open("rb") as source:
        if wanted.info.etag != _etag(os.fstat(source.fileno())):
            raise PreconditionFailed(uri)
        wanted.path.parent.mkdir(parents=True, exist_ok=True)
        with replacing(wanted.path) as temporary:
            with temporary.open("wb") as target:
                while block := source.read(_BLOCK):
                    if wanted.sha256 is not None:
                        digest.update(block)
                    yield target.write(block)
            if wanted.sha256 not in (None, digest.hexdigest()):
                raise PreconditionFailed(uri)


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
def file_errors(uri: str) -> Iterator[None]:
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
