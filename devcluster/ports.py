"""Who holds a TCP port, so that a refusal can name the process."""

from __future__ import annotations

import contextlib
import socket
from collections.abc import Iterator
from pathlib import Path

from devcluster.errors import Refusal
from devcluster.processes import all_pids, command_line

LISTEN = "0A"


def listening_inode(table: str, port: int, address: str | None = None) -> str | None:
    """Inode of the socket that listens on a port, from the text of /proc/net/tcp or tcp6.

    `address` (IPv4) narrows this to sockets that conflict with it: the same or the wildcard one.
    """
    for line in table.splitlines()[1:]:
        fields = line.split()
        host, _, number = fields[1].rpartition(":")
        if fields[3] != LISTEN or int(number, 16) != port:
            continue
        if address is None or set(host) == {"0"} or host == _hexadecimal(address):
            return fields[9]
    return None


def _hexadecimal(address: str) -> str:
    """An IPv4 address as the kernel prints it on a little-endian machine."""
    return socket.inet_aton(address)[::-1].hex().upper()


def holder(port: int, address: str) -> tuple[bool, int | None]:
    """Whether a port is taken on an address, and by which pid if that can be seen."""
    tables = [Path("/proc/net/tcp"), Path("/proc/net/tcp6")]
    for table in (table for table in tables if table.exists()):
        inode = listening_inode(table.read_text(), port, address)
        if inode is not None:
            return True, _pid_of_socket(inode)
    return False, None


def _pid_of_socket(inode: str) -> int | None:
    for pid in all_pids():
        if f"socket:[{inode}]" in _open_files(pid):
            return pid
    return None


def _open_files(pid: int) -> Iterator[str]:
    """What a process has open; a file that is closed meanwhile is left out."""
    with contextlib.suppress(OSError):
        for entry in Path(f"/proc/{pid}/fd").iterdir():
            with contextlib.suppress(OSError):
                yield str(entry.readlink())


def taken_message(port: int, purpose: str, pid: int | None, program: str) -> str:
    """The sentence that refuses a taken port."""
    by = f" by process {pid} ({program})" if pid is not None else ""
    return f"Port {port} for {purpose} is taken{by}: end that program, then run this again."


def refuse_taken(port: int, address: str, purpose: str) -> None:
    """Refusal if another program listens on the port."""
    taken, pid = holder(port, address)
    if taken:
        words = command_line(pid) if pid is not None else []
        name = Path(words[0]).name if words else "unknown"
        raise Refusal(taken_message(port, purpose, pid, name))


def free_ports(count: int) -> list[int]:
    """Ports on 127.0.0.1 that are free now; held together so that they differ."""
    sockets = [socket.socket() for _ in range(count)]
    try:
        for each in sockets:
            each.bind(("127.0.0.1", 0))
        return [int(each.getsockname()[1]) for each in sockets]
    finally:
        for each in sockets:
            each.close()
