"""How fast a big object comes from S3 to disk: the trainer's way against boto3's default.

    python -m benchmarks.storage.download [--size GB] [--repetitions N] [--folder FOLDER]

A local versitygw serves one object of random bytes. In each repetition every way fetches it once,
in another order each time; a ratio is taken within a repetition. `server` reads the same ranges
over plain sockets and keeps nothing: what server and network allow on this machine.
"""

import argparse
import os
import statistics
import tempfile
import threading
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from http.client import HTTPConnection
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import boto3
from botocore.config import Config
from finetune_api.spec import Addressing, Storage
from finetune_trainer.storage import open_store
from finetune_trainer.storage.s3 import DOWNLOAD_PART
from finetune_trainer.storage.transfer import THREADS, ranges

from benchmarks.storage.server import BUCKET, Server, running_server

KEY = "object"
BAR = 2.0
_BLOCK = 2**20


@dataclass(frozen=True)
class Timing:
    """One download."""

    seconds: float
    """On the clock."""
    client_cpu: float
    """Seconds of processor time of this process."""
    server_cpu: float
    """The same of the server."""


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--size", type=float, default=2.0, help="GB (10^9 bytes)")
    parser.add_argument("--repetitions", type=int, default=5)
    parser.add_argument("--folder", type=Path, help="where files are written (a temporary folder)")
    options = parser.parse_args()
    size = int(options.size * 10**9)
    with (
        tempfile.TemporaryDirectory(dir=options.folder) as folder,
        running_server(Path(folder)) as server,
    ):
        target = Path(folder) / "target"
        upload(server, Path(folder) / "source", size)
        ways = make_ways(server, size, target)
        timings = measure(ways, server, target, size, options.repetitions)
    report(timings, size)


def upload(server: Server, source: Path, size: int) -> None:
    """Put an object of random bytes into the bucket."""
    with source.open("wb") as file:
        for begin, end in ranges(size, _BLOCK):
            file.write(os.urandom(end - begin))
    storage(server).upload(source, f"s3://{BUCKET}/{KEY}")
    source.unlink()


def storage(server: Server) -> Any:
    """The trainer's store."""
    wish = Storage(endpoint=server.endpoint, region="us-east-1", addressing=Addressing.PATH)
    return open_store(wish, allow_loopback=True)


def make_ways(server: Server, size: int, target: Path) -> dict[str, Callable[[], object]]:
    """The ways to be compared, by name."""
    client = boto3.client("s3", endpoint_url=server.endpoint, region_name="us-east-1")
    store = storage(server)
    return {
        "boto3": lambda: client.download_file(BUCKET, KEY, str(target)),
        "trainer": lambda: store.download(f"s3://{BUCKET}/{KEY}", target),
        "server": lambda: read_to_nowhere(server, size),
    }


def read_to_nowhere(server: Server, size: int) -> None:
    """Read the object in ranges over as many plain connections as the trainer opens."""
    client = boto3.client(
        "s3",
        endpoint_url=server.endpoint,
        region_name="us-east-1",
        config=Config(signature_version="s3v4", response_checksum_validation="when_required"),
    )
    url = urlsplit(client.generate_presigned_url("get_object", {"Bucket": BUCKET, "Key": KEY}))
    todo, failures = deque(ranges(size, DOWNLOAD_PART)), list[str]()

    def work() -> None:
        connection, buffer = HTTPConnection(url.netloc), memoryview(bytearray(_BLOCK))
        while todo:
            try:
                begin, end = todo.popleft()
            except IndexError:
                break
            headers = {"Range": f"bytes={begin}-{end - 1}"}
            connection.request("GET", f"{url.path}?{url.query}", headers=headers)
            answer, got = connection.getresponse(), 0
            while count := answer.readinto(buffer):
                got += count
            if got != end - begin:
                failures.append(f"{answer.status}: {got} bytes in place of {end - begin}")
        connection.close()

    threads = [threading.Thread(target=work) for _ in range(THREADS)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    if failures:
        raise RuntimeError(failures[0])


def measure(
    ways: dict[str, Callable[[], object]],
    server: Server,
    target: Path,
    size: int,
    repetitions: int,
) -> dict[str, list[Timing]]:
    """Timings of each way, one in each repetition."""
    timings: dict[str, list[Timing]] = {name: [] for name in ways}
    for repetition in range(repetitions):
        names = list(ways)
        for name in names[repetition % len(names) :] + names[: repetition % len(names)]:
            os.sync()  # what others wrote is not to be waited for
            timings[name].append(timed(ways[name], server))
            if target.exists():
                assert target.stat().st_size == size
                target.unlink()
            print(f"{repetition + 1} {name:8} {size / timings[name][-1].seconds / 1e9:6.2f} GB/s")
    return timings


def timed(work: Callable[[], object], server: Server) -> Timing:
    """How long `work` takes."""
    before, server_before, start = sum(os.times()[:2]), server.cpu(), time.monotonic()
    work()
    seconds = time.monotonic() - start
    return Timing(seconds, sum(os.times()[:2]) - before, server.cpu() - server_before)


def report(timings: dict[str, list[Timing]], size: int) -> None:
    """Print medians with their spread, and the ratio that the bar is on."""
    print(f"\n{size / 1e9:.1f} GB, {os.cpu_count()} cores, load {os.getloadavg()[0]:.1f}")
    print(f"{'':8} {'GB/s':>5} {'(least to most)':>16} {'client CPU s':>13} {'server CPU s':>13}")
    for name, runs in timings.items():
        speeds = sorted(size / run.seconds / 1e9 for run in runs)
        spread = f"({speeds[0]:.2f} to {speeds[-1]:.2f})"
        client = statistics.median(run.client_cpu for run in runs)
        server = statistics.median(run.server_cpu for run in runs)
        middle = statistics.median(speeds)
        print(f"{name:8} {middle:5.2f} {spread:>16} {client:13.1f} {server:13.1f}")
    pairs = zip(timings["boto3"], timings["trainer"], strict=True)
    ratios = sorted(ours_not.seconds / ours.seconds for ours_not, ours in pairs)
    median = statistics.median(ratios)
    verdict = "met" if median >= BAR else "missed"
    print(
        f"trainer / boto3: {median:.2f} ({ratios[0]:.2f} to {ratios[-1]:.2f}), bar {BAR} {verdict}"
    )


if __name__ == "__main__":
    main()
