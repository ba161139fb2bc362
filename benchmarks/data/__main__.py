"""python -m benchmarks.data [--rows N ...] [--rounds R]: rows a second and memory of preparing.

Each contestant works in processes of its own over the same rows; what they take together is
sampled from outside. Rows are documents of 60 words, since `datasets` renders no chat.
"""

import argparse
import json
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path

import psutil

from benchmarks.alternate import alternate, machine, table
from benchmarks.data.workload import CHECKS, Workload

SAMPLE_SECONDS = 0.05


def main() -> None:
    """Print Markdown tables."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rows", type=int, nargs="+", default=[10_000, 100_000])
    parser.add_argument("--processes", type=int, nargs="+", default=[1, 2])
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--checks", action="store_true", help="the cost of each check instead")
    options = parser.parse_args()
    print(machine(), "\n")
    with tempfile.TemporaryDirectory() as folder:
        for rows in options.rows:
            work = Workload.make(Path(folder, str(rows)), rows)
            for processes in options.processes:
                compare(work, processes, options.rounds, each_check=options.checks)


def compare(work: Workload, processes: int, rounds: int, *, each_check: bool) -> None:
    """Print the table of one size and number of processes."""
    names = ["ours, checks off", "datasets"]
    if each_check:
        names = ["ours, checks off", *(f"ours, {check} on" for check in CHECKS), "ours, defaults"]
    peaks: dict[str, list[float]] = {name: [] for name in names}

    def contestant(name: str) -> float:
        seconds, peak = run(work, name, processes)
        peaks[name].append(peak)
        return work.rows / seconds

    outcome = alternate({name: partial(contestant, name) for name in names}, rounds)
    title = f"{work.rows:,} rows, {processes} process{'' if processes == 1 else 'es'}"
    print(f"\n{table(title, 'rows/s', outcome, names[0], {'datasets': 'at least 1'})}\n")
    print("| contestant | peak memory of all processes, MiB: least to most |\n|---|---|")
    for name, found in peaks.items():
        print(f"| {name} | {min(found):,.0f} to {max(found):,.0f} |")
    print(flush=True)


def run(work: Workload, name: str, processes: int) -> tuple[float, float]:
    """(seconds of the work without imports, MiB that all processes took at most)."""
    command = [sys.executable, "-m", "benchmarks.data.contestant"]
    request = {"name": name, "processes": processes, "folder": str(work.folder)}
    started = subprocess.Popen([*command, json.dumps(request)], stdout=subprocess.PIPE, text=True)
    with _peak(started.pid) as peak:
        said, _ = started.communicate()
    assert started.returncode == 0, said
    return float(said.strip().splitlines()[-1]), peak[0] / 2**20


@contextmanager
def _peak(pid: int) -> Iterator[list[int]]:
    """The most bytes that a process and its children have together, each page counted once for
    those that share it (proportional set size)."""
    most, ended = [0], threading.Event()

    def watch() -> None:
        while not ended.is_set():
            most[0] = max(most[0], _memory(pid))
            time.sleep(SAMPLE_SECONDS)

    thread = threading.Thread(target=watch)
    thread.start()
    try:
        yield most
    finally:
        ended.set()
        thread.join()


def _memory(pid: int) -> int:
    try:
        root = psutil.Process(pid)
        return sum(_one(process) for process in [root, *root.children(recursive=True)])
    except psutil.NoSuchProcess:
        return 0


def _one(process: psutil.Process) -> int:
    try:
        return int(process.memory_full_info().pss)
    except (psutil.NoSuchProcess, psutil.AccessDenied):
        return 0


if __name__ == "__main__":
    main()
