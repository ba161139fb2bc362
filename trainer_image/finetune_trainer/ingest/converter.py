"""Converting people's files in a child process that is bounded and may die."""

import os
import select
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from types import TracebackType
from typing import Self

from finetune_api.errors import InternalError
from finetune_api.reasons import Reason

from finetune_trainer.data.faults import Fault
from finetune_trainer.ingest.failure import Limits, UnreadableFile, over_memory, over_time
from finetune_trainer.ingest.kinds import Compression, FileKind
from finetune_trainer.ingest.messages import MAX_REPLY, READY, Reply, Request, decode_reply, encode

__all__ = ["Converter", "Limits", "UnreadableFile"]

_IMPORT_SECONDS = 120
"""What starting and importing may take; a file's own time begins after it."""
_END_SECONDS = 10
# Credentials stay out of the process that reads what strangers wrote.
_PASSED_ON = ("PATH", "PYTHONPATH", "PYTHONHOME", "LD_LIBRARY_PATH", "TMPDIR", "HOME")
_SETTINGS = {
    "PYTHONUTF8": "1",
    # One thread, one allocator: address space is bounded, and threads reserve much of it.
    "ARROW_DEFAULT_MEMORY_POOL": "system",
    "MALLOC_ARENA_MAX": "1",
    "OMP_NUM_THREADS": "1",
    "OPENBLAS_NUM_THREADS": "1",
}


class Converter:
    """One child process used for many files, replaced when it dies, grows or is over time.

    A context manager. It belongs to the thread that uses it: the child is killed when that
    thread ends, however it ends.
    """

    def __init__(self, limits: Limits | None = None) -> None:
        self.limits = limits or Limits()
        self._child: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def close(self) -> None:
        """End the child."""
        child, self._child = self._child, None
        if child is None:
            return
        child.kill()
        for pipe in (child.stdin, child.stdout):
            if pipe:
                pipe.close()
        child.wait()

    def convert(
        self, path: Path, name: str, kind: FileKind, compression: Compression | None, target: Path
    ) -> int:
        """Write the rows of the file at `path` as JSON lines to `target`; returns their number.

        `name` is the last part of the file's address. A row that cannot be read is a line that
        `parse_converted_line` makes an InvalidRow. With ROWS, which must be compressed, the
        inflated bytes are written as they are, and the number is that of their lines.
        `target` is there only after success.

        Raises UnreadableFile; OSError for a fault that is not the file's, as a full disk.
        """
        if kind is FileKind.ROWS and compression is None:
            raise ValueError("rows that are not compressed need no conversion")
        size = path.stat().st_size
        work = tempfile.mkdtemp(prefix=".ingest-", dir=target.parent)
        try:
            rows = Path(work, "rows")
            request = Request(
                path=str(path.absolute()),
                name=name,
                kind=kind,
                compression=compression,
                target=str(rows.absolute()),
                inflated=str(Path(work, "inflated").absolute()),
                limits=self.limits,
            )
            number = self._result(request, size)
            rows.replace(target)
            return number
        finally:
            shutil.rmtree(work, ignore_errors=True)

    def _result(self, request: Request, size: int) -> int:
        try:
            reply = self._ask(request, self.limits.seconds_for(size))
        except BaseException:
            # Whatever stopped this, a signal's handler too: nothing more may be written.
            self.close()
            raise
        if reply.spent:
            self.close()
        if reply.error is not None:
            raise OSError(reply.error, os.strerror(reply.error))
        if reply.fault is not None:
            raise UnreadableFile(reply.fault, reply.message)
        return reply.rows

    def _ask(self, request: Request, seconds: float) -> Reply:
        child = self._running()
        assert child.stdin is not None
        assert child.stdout is not None
        replies = _Lines(child.stdout.fileno())
        child.stdin.write(encode(request))
        if replies.next(_IMPORT_SECONDS) != READY:
            raise InternalError(Reason.INTERNAL_ERROR, "the process that reads files did not start")
        line = replies.next(seconds)
        if line is None:
            raise over_time(seconds)
        if not line:
            raise _ended(child, self.limits)
        try:
            return decode_reply(line)
        except ValueError:
            raise _made_it_stop() from None

    def _running(self) -> subprocess.Popen[bytes]:
        if self._child is not None and self._child.poll() is not None:
            self.close()
        if self._child is None:
            self._child = _start(self.limits)
        return self._child


def _start(limits: Limits) -> subprocess.Popen[bytes]:
    environment = {name: os.environ[name] for name in _PASSED_ON if name in os.environ}
    # -P: no module is taken from the working directory, where people's files may lie.
    module = "finetune_trainer.ingest.child"
    return subprocess.Popen(
        [sys.executable, "-P", "-m", module, str(os.getpid()), str(limits.output)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        bufsize=0,
        env={**environment, **_SETTINGS},
    )


def _ended(child: subprocess.Popen[bytes], limits: Limits) -> UnreadableFile:
    """What the file is that the child ended on."""
    ended_by = -child.wait(_END_SECONDS)
    if ended_by == signal.SIGXCPU:
        return UnreadableFile(Fault.LIMIT, "takes too much processor time to read")
    if ended_by == signal.SIGKILL:  # by the kernel, for want of memory
        return over_memory(limits.memory)
    return _made_it_stop()


def _made_it_stop() -> UnreadableFile:
    return UnreadableFile(Fault.FILE, "made its reader stop: it is damaged, or made to do that")


class _Lines:
    """Lines that come through a pipe."""

    def __init__(self, pipe: int) -> None:
        self._pipe = pipe
        self._poll = select.poll()
        self._poll.register(pipe, select.POLLIN)
        self._ahead = b""

    def next(self, seconds: float) -> bytes | None:
        """The next line, empty at the pipe's end; None if it does not come in time."""
        deadline = time.monotonic() + seconds
        while b"\n" not in self._ahead and len(self._ahead) < MAX_REPLY:
            left = deadline - time.monotonic()
            if left <= 0:
                return None
            if self._poll.poll(left * 1000):
                part = os.read(self._pipe, MAX_REPLY)
                if not part:
                    return b""
                self._ahead += part
        line, _, self._ahead = self._ahead.partition(b"\n")
        return line + b"\n"
