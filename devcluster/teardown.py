"""Ending containers and mounts of our containerd, also when containerd itself is gone."""

from __future__ import annotations

import contextlib
import itertools
import os
import signal
import time
from collections.abc import Iterable
from pathlib import Path

from devcluster import commands, processes, transfer
from devcluster.paths import Layout


def remove_containers(layout: Layout) -> None:
    """Ask containerd to forget all containers, then end whatever its shims still hold."""
    ctr = transfer.ctr(layout)
    for kind, removal in (("tasks", ("rm", "--force")), ("containers", ("rm",))):
        names = (commands.output_of([*ctr, kind, "list", "--quiet"]) or "").split()
        if names:
            commands.output_of([*ctr, kind, *removal, *names], timeout=60)
    kill_shims(layout)
    for address in layout.run.glob("containerd/io.containerd.runtime.v2.task/*/*/address"):
        # A shim that was killed leaves its socket, which is in a folder of the machine.
        Path(address.read_text().removeprefix("unix://")).unlink(missing_ok=True)


def shims(layout: Layout) -> list[int]:
    """Processes between our containerd and its containers, known by the socket they were given."""
    return [
        pid
        for pid in processes.all_pids()
        if is_shim(processes.command_line(pid), str(layout.containerd_socket))
    ]


def is_shim(command: list[str], socket: str) -> bool:
    """Whether a command line is that of a shim of the containerd at this socket."""
    if not command or not Path(command[0]).name.startswith("containerd-shim"):
        return False
    return ("-address", socket) in itertools.pairwise(command)


def kill_shims(layout: Layout) -> None:
    """End the containers first: without their shim they would be nobody's children."""
    for shim in shims(layout):
        found = [processes.identify(pid) for pid in [*processes.descendants(shim), shim]]
        _kill(identity for identity in found if identity is not None)


def _kill(found: Iterable[processes.Identity]) -> None:
    listed = list(found)
    for identity in listed:
        if processes.identify(identity.pid) == identity:
            with contextlib.suppress(ProcessLookupError):
                os.kill(identity.pid, signal.SIGKILL)
    deadline = time.monotonic() + 5
    while time.monotonic() < deadline and any(
        processes.identify(each.pid) == each for each in listed
    ):
        time.sleep(0.05)


def remove_mounts(layout: Layout) -> None:
    """Unmount everything below our folders, innermost first."""
    table = Path("/proc/self/mountinfo").read_text()
    for target in mounts_below(table, [layout.home, layout.run]):
        commands.output_of(["umount", "--lazy", target])


def mounts_below(table: str, folders: Iterable[Path]) -> list[str]:
    """Mount points inside folders, from the text of /proc/self/mountinfo, last mounted first."""
    roots = [str(folder) for folder in folders]
    targets = [_unescape(line.split()[4]) for line in table.splitlines()]
    return [
        target
        for target in reversed(targets)
        if any(target == root or target.startswith(f"{root}/") for root in roots)
    ]


def _unescape(word: str) -> str:
    """The kernel writes a space in a path as \\040."""
    return word.encode().decode("unicode_escape") if "\\" in word else word
