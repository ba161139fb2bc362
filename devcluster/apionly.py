"""An API server with etcd and nothing else, for tests: seconds to start, several at once, no root.

    with api_server() as server:
        subprocess.run([server.kubectl, f"--kubeconfig={server.kubeconfig}", "get", "ns"])

Nothing stays when the block ends, nor when the process is killed: the kernel then ends both
programs, and a shell that waits for the end of a pipe removes their folder.
"""

from __future__ import annotations

import contextlib
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from devcluster import binaries, kubeconfig
from devcluster.client import answers, wait_for
from devcluster.controlplane import ServerKeys, apiserver_command, etcd_command, make_keys
from devcluster.errors import CommandFailed
from devcluster.ports import free_ports
from devcluster.processes import identify, start_bound
from devcluster.versions import API_PROGRAMS

ATTEMPTS = 3
# Runs on when this process has died: two dying programs may still write for a moment.
_JANITOR = 'cat >/dev/null; while [ -e "$1" ]; do rm -rf "$1" 2>/dev/null; sleep 0.1; done'


@dataclass(frozen=True)
class ApiServer:
    """A running API server."""

    kubeconfig: Path
    """User of group system:masters."""
    url: str
    ca_file: Path
    kubectl: Path


@contextlib.contextmanager
def api_server() -> Iterator[ApiServer]:
    """Run etcd and kube-apiserver for the time of the block, building them if need be."""
    programs = binaries.obtain(API_PROGRAMS)
    with _temporary_folder() as folder, contextlib.ExitStack() as running:
        keys = make_keys(folder, ["127.0.0.1"])
        yield _start(folder, keys, programs, running)


@contextlib.contextmanager
def _temporary_folder() -> Iterator[Path]:
    folder = Path(tempfile.mkdtemp(prefix="finetune-api-"))
    janitor = subprocess.Popen(
        ["/bin/sh", "-c", _JANITOR, "sh", str(folder)],
        stdin=subprocess.PIPE,
        start_new_session=True,
    )
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)
        assert janitor.stdin is not None
        janitor.stdin.close()
        janitor.wait()


def _start(
    folder: Path, keys: ServerKeys, programs: dict[str, Path], running: contextlib.ExitStack
) -> ApiServer:
    """Both programs on free ports; again with others if a port was taken in the meantime."""
    for attempt in range(1, ATTEMPTS + 1):
        ports = free_ports(3)
        with contextlib.ExitStack() as trial:
            try:
                server = _run(folder / str(attempt), keys, programs, ports, trial)
            except CommandFailed:
                if attempt == ATTEMPTS:
                    raise
                continue
            running.push(trial.pop_all())
            return server
    raise AssertionError("the last attempt returns or raises")


def _run(
    folder: Path,
    keys: ServerKeys,
    programs: dict[str, Path],
    ports: list[int],
    running: contextlib.ExitStack,
) -> ApiServer:
    folder.mkdir()
    etcd_port, peer_port, port = ports
    etcd = etcd_command(programs["etcd"], folder / "etcd", etcd_port, peer_port)
    _launch([*etcd, "--unsafe-no-fsync"], folder / "etcd.log", running)
    command = apiserver_command(
        programs["kube-apiserver"],
        keys,
        address="127.0.0.1",
        port=port,
        etcd_port=etcd_port,
        services="10.0.0.0/24",
    )
    # Without a controller manager no namespace has a service account that pods could be given.
    alone = ("--authorization-mode=RBAC", "--disable-admission-plugins=ServiceAccount")
    log = folder / "kube-apiserver.log"
    child = _launch([*command, *alone], log, running)
    url, authority = f"https://127.0.0.1:{port}", keys.authority.certificate
    wait_for(
        "kube-apiserver",
        lambda: answers(f"{url}/readyz", authority),
        log=log,
        process=identify(child.pid),
    )
    file = kubeconfig.write(
        folder / "kubeconfig", server=url, authority=authority, client=keys.admin
    )
    return ApiServer(kubeconfig=file, url=url, ca_file=authority, kubectl=programs["kubectl"])


def _launch(
    command: list[str], log: Path, running: contextlib.ExitStack
) -> subprocess.Popen[bytes]:
    child = start_bound(command, log=log)
    running.callback(_end, child)
    return child


def _end(child: subprocess.Popen[bytes]) -> None:
    """SIGKILL: their data is thrown away, and a tidy end would take seconds."""
    child.kill()
    child.wait()
