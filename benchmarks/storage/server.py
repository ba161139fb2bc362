"""A local S3 server: the one of the dev cluster, over a folder."""

import os
import subprocess
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from devcluster.binaries import obtain
from devcluster.ports import free_ports

BUCKET = "bench"
_KEYS = ("benchmark", "benchmark-secret")
_TICKS = os.sysconf("SC_CLK_TCK")


@dataclass(frozen=True)
class Server:
    """A server that runs."""

    endpoint: str
    process: "subprocess.Popen[bytes]"

    def cpu(self) -> float:
        """Seconds of processor time it has used."""
        fields = Path(f"/proc/{self.process.pid}/stat").read_text().rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / _TICKS


@contextmanager
def running_server(folder: Path) -> Iterator[Server]:
    """versitygw with one empty bucket below `folder`; this process's environment gets its keys."""
    buckets = folder / "buckets"
    (buckets / BUCKET).mkdir(parents=True)
    access, secret = _KEYS
    os.environ |= {"AWS_ACCESS_KEY_ID": access, "AWS_SECRET_ACCESS_KEY": secret}
    address = f"127.0.0.1:{free_ports(1)[0]}"
    process = subprocess.Popen(
        [
            obtain(["versitygw"])["versitygw"],
            f"--port={address}",
            "--health=/health",
            "posix",
            buckets,
        ],
        env={**os.environ, "ROOT_ACCESS_KEY": access, "ROOT_SECRET_KEY": secret},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        _wait(f"http://{address}/health")
        yield Server(f"http://{address}", process)
    finally:
        process.terminate()
        process.wait(timeout=10)


def _wait(url: str) -> None:
    for _ in range(200):
        try:
            with urllib.request.urlopen(url, timeout=1):  # noqa: S310 - our own http address
                return
        except OSError:
            time.sleep(0.05)
    raise TimeoutError(url)
