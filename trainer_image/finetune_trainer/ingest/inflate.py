"""Inflating a compressed file, and knowing a bomb by its ratio."""

import gzip
import zlib
from collections.abc import Iterator
from pathlib import Path

from finetune_trainer.data.faults import Fault
from finetune_trainer.ingest.failure import Limits, UnreadableFile
from finetune_trainer.ingest.kinds import Compression

_CHUNK = 2**20


def inflate(path: Path, compression: Compression, target: Path, limits: Limits) -> int:
    """Write what the file at `path` holds to `target`; returns the number of lines.

    Raises UnreadableFile for a broken file, or one that inflates beyond `limits`.
    """
    stored = path.stat().st_size
    inflated = lines = 0
    last = b"\n"
    with target.open("wb") as file:
        for chunk in _chunks(path, compression):
            inflated += len(chunk)
            limits.check_inflated(inflated, stored)
            file.write(chunk)
            lines += chunk.count(b"\n")
            last = chunk[-1:]
    return lines + (last != b"\n")


def _chunks(path: Path, compression: Compression) -> Iterator[bytes]:
    try:
        yield from _gzip(path) if compression is Compression.GZIP else _zstd(path)
    except (EOFError, zlib.error, OSError) as error:
        if isinstance(error, OSError) and error.errno is not None:
            raise  # the disk's fault, not the file's
        raise UnreadableFile(
            Fault.FILE, f"breaks off or is damaged: it cannot be inflated as {compression}"
        ) from error


def _gzip(path: Path) -> Iterator[bytes]:
    with gzip.open(path) as file:
        while chunk := file.read(_CHUNK):
            yield chunk


def _zstd(path: Path) -> Iterator[bytes]:
    # The standard library reads Zstandard from Python 3.14 on; pyarrow is here for Parquet.
    import pyarrow as pa

    with pa.CompressedInputStream(pa.OSFile(str(path)), "zstd") as file:
        while chunk := file.read(_CHUNK):
            yield chunk
