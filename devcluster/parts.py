"""A part of the cluster: one daemon with its log, its pid file and a question for its health."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from devcluster import processes
from devcluster.client import wait_for
from devcluster.paths import Layout
from devcluster.ports import refuse_taken
from devcluster.processes import Identity


@dataclass(frozen=True)
class Part:
    """How one daemon is started and asked whether it works."""

    name: str
    command: list[str]
    healthy: Callable[[], bool]
    ports: tuple[tuple[str, int], ...] = ()
    """Addresses and TCP ports it listens on; looked at before it is started."""
    environment: Mapping[str, str] = field(default_factory=dict)
    depends_on: tuple[Path, ...] = ()
    """Configuration files: when one has changed, a running part is started anew."""

    @property
    def fingerprint(self) -> str:
        """Changes when the part would be started in another way."""
        digest = hashlib.sha256(json.dumps([self.command, dict(self.environment)]).encode())
        for file in self.depends_on:
            digest.update(file.read_bytes())
        return digest.hexdigest()


def pid_file(layout: Layout, name: str) -> Path:
    return layout.run / f"{name}.pid"


def log_file(layout: Layout, name: str) -> Path:
    return layout.logs / f"{name}.log"


def running(layout: Layout, name: str) -> Identity | None:
    """The part's process, if it runs."""
    return processes.read_pid_file(pid_file(layout, name))


def check_ports(layout: Layout, part: Part) -> None:
    """Refusal if another program has a port of a part that does not run yet."""
    if running(layout, part.name) is None:
        for address, port in part.ports:
            refuse_taken(port, address, part.name)


def start(layout: Layout, part: Part) -> None:
    """Start a part unless it runs as it should already."""
    mark = layout.run / f"{part.name}.fingerprint"
    present = running(layout, part.name)
    if present is not None:
        if mark.exists() and mark.read_text() == part.fingerprint:
            return
        processes.stop(present)
    check_ports(layout, part)
    log = log_file(layout, part.name)
    if log.exists():
        log.replace(log.with_suffix(".previous.log"))
    mark.write_text(part.fingerprint)
    processes.start(
        part.command,
        pid_file=pid_file(layout, part.name),
        log=log,
        environment=part.environment,
    )


def await_healthy(layout: Layout, part: Part, timeout: float = 60.0) -> None:
    """Wait until a started part works."""
    wait_for(
        part.name,
        part.healthy,
        log=log_file(layout, part.name),
        process=running(layout, part.name),
        timeout=timeout,
    )


def stop(layout: Layout, name: str) -> bool:
    """End a part; whether it ran."""
    present = running(layout, name)
    if present is not None:
        processes.stop(present)
    pid_file(layout, name).unlink(missing_ok=True)
    (layout.run / f"{name}.fingerprint").unlink(missing_ok=True)
    return present is not None
