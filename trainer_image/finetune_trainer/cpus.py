"""The CPUs that this pod may use, and processes that end with it."""

import ctypes
import os
import signal
from pathlib import Path

_CPU_QUOTA = Path("/sys/fs/cgroup/cpu.max")
_PR_SET_PDEATHSIG = 1


def available_cpus() -> int:
    """CPUs that this process may use at once: those it may run on, within the pod's limit."""
    cpus = float(len(os.sched_getaffinity(0)))
    if _CPU_QUOTA.exists():
        quota, period = _CPU_QUOTA.read_text(encoding="ascii").split()
        if quota != "max":
            cpus = min(cpus, int(quota) / int(period))
    return max(1, int(cpus))


def end_with_parent() -> None:
    """Have the kernel kill this process when its parent ends, however that is."""
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() == 1:  # it ended meanwhile
        os._exit(1)
