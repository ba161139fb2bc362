"""Questions to the cluster: plain HTTPS for health, kubectl for objects."""

from __future__ import annotations

import json
import socket
import ssl
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from devcluster import commands
from devcluster.errors import CommandFailed, log_failure
from devcluster.processes import Identity, identify


def answers(url: str, authority: Path | None = None, timeout: float = 2.0) -> bool:
    """Whether a health address says 200. Without an authority the certificate is not judged:
    parts that listen on 127.0.0.1 only make their own at each start."""
    context = None
    if url.startswith("https:"):
        context = ssl.create_default_context(cafile=str(authority) if authority else None)
        if authority is None:
            context.check_hostname = False
            context.verify_mode = ssl.CERT_NONE
    opener = urllib.request.build_opener(
        urllib.request.ProxyHandler({}), urllib.request.HTTPSHandler(context=context)
    )
    try:
        with opener.open(url, timeout=timeout) as response:
            return bool(response.status == 200)
    except (urllib.error.URLError, OSError, ValueError):
        return False


def accepts(address: str, port: int) -> bool:
    """Whether something listens on a TCP port."""
    try:
        with socket.create_connection((address, port), timeout=1):
            return True
    except OSError:
        return False


def wait_for(
    what: str,
    ready: Callable[[], bool],
    *,
    log: Path,
    process: Identity | None = None,
    timeout: float = 60.0,
) -> None:
    """Poll until ready; fail at once if the process ends, and with its last lines in any case."""
    deadline = time.monotonic() + timeout
    while not ready():
        if process is not None and identify(process.pid) is None:
            raise log_failure(what, log, "It ended by itself.")
        if time.monotonic() > deadline:
            raise log_failure(what, log, f"It was not ready after {timeout:.0f} s.")
        time.sleep(0.1)


@dataclass(frozen=True)
class Kubectl:
    """kubectl of the right version with one kubeconfig."""

    program: Path
    kubeconfig: Path

    def __call__(self, *words: str, stdin: str | None = None) -> str:
        command: list[str | Path] = [self.program, f"--kubeconfig={self.kubeconfig}", *words]
        return commands.run(command, stdin=stdin, advice="See `python -m devcluster status`.")

    def apply(self, documents: Sequence[Mapping[str, object]]) -> None:
        """Server-side apply, so that a changed document of ours wins and others' fields stay."""
        text = json.dumps({"apiVersion": "v1", "kind": "List", "items": list(documents)})
        self("apply", "--server-side", "--force-conflicts", "-f", "-", stdin=text)

    def succeeds(self, *words: str, stdin: str | None = None) -> bool:
        """Whether the same call would not fail."""
        try:
            self(*words, stdin=stdin)
        except CommandFailed:
            return False
        return True
