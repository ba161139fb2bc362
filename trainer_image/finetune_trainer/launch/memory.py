"""Whether the kernel killed a process of this pod for memory."""

from pathlib import Path

_COUNTERS = (
    Path("/sys/fs/cgroup/memory.events"),
    Path("/sys/fs/cgroup/memory/memory.oom_control"),
)
"""cgroup v2, then v1; both have a line `oom_kill N`."""


def oom_kills(counters: tuple[Path, ...] = _COUNTERS) -> int:
    """Processes of this container that were killed for memory so far; 0 where none can tell."""
    for path in counters:
        if path.exists():
            for line in path.read_text(encoding="ascii").splitlines():
                name, _, count = line.partition(" ")
                if name == "oom_kill":
                    return int(count)
    return 0
