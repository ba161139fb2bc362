"""Long-running programs that are ended only if they are surely ours.

A pid alone may have been given to another program since. A pid file therefore holds the pid, the
start time from /proc and the machine's boot id; together they name one process for ever.
"""

from __future__ import annotations

import contextlib
import ctypes
import json
import os
import signal
import subprocess
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

PR_SET_PDEATHSIG = 1


@dataclass(frozen=True)
class Identity:
    """One process of one boot of the machine."""

    pid: int
    start: int
    """Clock ticks after boot, field 22 of /proc/PID/stat."""
    boot: str


def boot_id() -> str:
    return Path("/proc/sys/kernel/random/boot_id").read_text().strip()


def start_ticks(stat: str) -> int:
    """Start time from the text of /proc/PID/stat; the name in it may hold spaces and brackets."""
    return int(stat.rpartition(")")[2].split()[19])


def state_letter(stat: str) -> str:
    """R, S, Z and so on, from the text of /proc/PID/stat."""
    return stat.rpartition(")")[2].split()[0]


def identify(pid: int) -> Identity | None:
    """The process that has this pid now; None if there is none or it only waits to be reaped."""
    try:
        stat = Path(f"/proc/{pid}/stat").read_text()
    except (FileNotFoundError, ProcessLookupError):
        return None
    if state_letter(stat) in "ZX":
        return None
    return Identity(pid, start_ticks(stat), boot_id())


def read_pid_file(path: Path) -> Identity | None:
    """The running process a pid file names, or None if it has ended or the file is broken."""
    try:
        written = Identity(**json.loads(path.read_text()))
    except (FileNotFoundError, ValueError, TypeError):
        return None
    return written if identify(written.pid) == written else None


def write_pid_file(path: Path, identity: Identity) -> None:
    path.write_text(json.dumps(asdict(identity)))


def start(
    command: Sequence[str | Path],
    *,
    pid_file: Path,
    log: Path,
    environment: Mapping[str, str] | None = None,
) -> Identity:
    """Start a daemon. It writes its own pid file before it becomes the program, so that a kill of
    this process in between cannot leave an unknown daemon behind."""

    def before_exec() -> None:
        identity = identify(os.getpid())
        assert identity is not None
        write_pid_file(pid_file, identity)

    child = _spawn(command, log, environment, before_exec)
    # From here on the pid file speaks for it; without this Python complains that it still runs.
    child.returncode = 0
    return identify(child.pid) or Identity(child.pid, 0, "")


def start_bound(command: Sequence[str | Path], *, log: Path) -> subprocess.Popen[bytes]:
    """Start a program that the kernel kills when this process ends, however it ends."""
    libc = ctypes.CDLL(None, use_errno=True)
    parent = os.getpid()

    def before_exec() -> None:
        libc.prctl(PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
        if os.getppid() != parent:
            os._exit(1)

    return _spawn(command, log, None, before_exec)


def _spawn(
    command: Sequence[str | Path],
    log: Path,
    environment: Mapping[str, str] | None,
    before_exec: Callable[[], None],
) -> subprocess.Popen[bytes]:
    with log.open("ab") as output:
        return subprocess.Popen(
            [str(word) for word in command],
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
            cwd="/",
            env={**os.environ, **(environment or {})},
            start_new_session=True,
            preexec_fn=before_exec,
        )


def stop(identity: Identity, grace: float = 10.0) -> None:
    """Ask a process to end, then make it; does nothing if it is no longer the same process."""
    for sent in (signal.SIGTERM, signal.SIGKILL):
        if identify(identity.pid) != identity:
            return
        with contextlib.suppress(ProcessLookupError):
            os.kill(identity.pid, sent)
        deadline = time.monotonic() + grace
        while time.monotonic() < deadline:
            _reap(identity.pid)
            if identify(identity.pid) != identity:
                return
            time.sleep(0.05)


def _reap(pid: int) -> None:
    """Collect a child of ours, which else stays a zombie until this process ends."""
    with contextlib.suppress(ChildProcessError):
        os.waitpid(pid, os.WNOHANG)


def all_pids() -> list[int]:
    return [int(entry.name) for entry in Path("/proc").iterdir() if entry.name.isdigit()]


def command_line(pid: int) -> list[str]:
    """Arguments of a process; empty if it ended or is a kernel thread."""
    try:
        raw = Path(f"/proc/{pid}/cmdline").read_bytes()
    except OSError:
        return []
    return raw.decode(errors="replace").split("\0")[:-1]


def parent_of(pid: int) -> int:
    """Pid of a process's parent; 0 if it ended."""
    try:
        return int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[1])
    except OSError:
        return 0


def descendants(root: int) -> list[int]:
    """Children, their children and so on, of a process."""
    parents = {pid: parent_of(pid) for pid in all_pids()}
    found = [root]
    for pid in found:
        found.extend(child for child, parent in parents.items() if parent == pid)
    return found[1:]
