"""What the process that reads people's files takes from itself (Linux)."""

import ctypes
import os
import resource
import signal
import sys
from pathlib import Path

_PR_SET_PDEATHSIG = 1
_NETWORK = frozenset({"socket.connect", "socket.getaddrinfo", "socket.sendto", "socket.bind"})
_PROGRAMS = frozenset({"subprocess.Popen", "os.system", "os.exec", "os.posix_spawn", "os.fork"})


def tie_to_parent(parent: int) -> None:
    """Be killed when the thread of process `parent` that started this one ends."""
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL) != 0:
        raise OSError(ctypes.get_errno(), "prctl(PR_SET_PDEATHSIG) failed")
    if os.getppid() != parent:  # it ended before the call
        raise SystemExit(1)


def give_up_rights(output: int) -> None:
    """No core files, no file over `output` bytes, no network, no other programs.

    The last two bind Python code, not a parser's native code that was taken over.
    """
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    resource.setrlimit(resource.RLIMIT_FSIZE, (output, output))
    sys.addaudithook(_refuse)


def address_space() -> int:
    """Bytes of address space that this process has."""
    pages = Path("/proc/self/statm").read_text(encoding="ascii").split()[0]
    return int(pages) * resource.getpagesize()


def bound_memory(size: int) -> None:
    """Let address space grow to `size` bytes; more raises MemoryError or ends the process."""
    resource.setrlimit(resource.RLIMIT_AS, (size, resource.RLIM_INFINITY))


def unbind_memory() -> None:
    """Let address space grow: for imports, which are ours."""
    bound_memory(resource.RLIM_INFINITY)


def bound_processor_time(seconds: float) -> None:
    """End the process by SIGXCPU after `seconds` more of processor time."""
    used = resource.getrusage(resource.RUSAGE_SELF)
    limit = int(used.ru_utime + used.ru_stime + seconds) + 1
    resource.setrlimit(resource.RLIMIT_CPU, (limit, resource.RLIM_INFINITY))


def _refuse(event: str, _: tuple[object, ...]) -> None:
    if event in _NETWORK or event in _PROGRAMS:
        raise PermissionError(f"{event} is not for the process that reads files")
