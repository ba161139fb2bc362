"""A process is ended only if it is surely the one that was started."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from devcluster import processes
from devcluster.processes import Identity

SLEEP = [sys.executable, "-c", "import time; time.sleep(60)"]


@pytest.fixture
def sleeper() -> Iterator[subprocess.Popen[bytes]]:
    with subprocess.Popen(SLEEP) as child:
        yield child
        child.kill()


def identity_of(pid: int) -> Identity:
    found = processes.identify(pid)
    assert found is not None
    return found


def test_start_time_is_read_behind_a_name_with_brackets_and_spaces() -> None:
    fields = ["S", *map(str, range(4, 22)), "987654", "23"]
    assert processes.start_ticks(f"42 (a) b (c)) {' '.join(fields)}") == 987654
    assert processes.state_letter(f"42 (a) b (c)) {' '.join(fields)}") == "S"


def test_a_pid_file_names_the_process_that_wrote_it(tmp_path: Path) -> None:
    file = tmp_path / "self.pid"
    processes.write_pid_file(file, identity_of(os.getpid()))
    assert processes.read_pid_file(file) == identity_of(os.getpid())


@pytest.mark.parametrize("change", [{"start": 1}, {"boot": "another boot"}])
def test_a_reused_pid_is_not_taken_for_ours(tmp_path: Path, change: dict[str, object]) -> None:
    mine = identity_of(os.getpid())
    file = tmp_path / "reused.pid"
    written = {"pid": mine.pid, "start": mine.start, "boot": mine.boot} | change
    file.write_text(json.dumps(written))
    assert processes.read_pid_file(file) is None


@pytest.mark.parametrize("content", ["", "{", "17", '{"pid": 3}', "[]"])
def test_a_broken_pid_file_names_no_process(tmp_path: Path, content: str) -> None:
    file = tmp_path / "broken.pid"
    file.write_text(content)
    assert processes.read_pid_file(file) is None


def test_stop_leaves_a_process_alone_that_has_taken_the_pid(
    sleeper: subprocess.Popen[bytes],
) -> None:
    real = identity_of(sleeper.pid)
    processes.stop(Identity(real.pid, real.start - 1, real.boot), grace=0.2)
    assert processes.identify(sleeper.pid) == real


def test_stop_ends_a_process_that_ignores_the_polite_signal(tmp_path: Path) -> None:
    stubborn = "import signal, time; signal.signal(15, signal.SIG_IGN); print(flush=True)"
    log = tmp_path / "log"
    started = processes.start(
        [sys.executable, "-c", f"{stubborn}; time.sleep(60)"],
        pid_file=tmp_path / "stubborn.pid",
        log=log,
    )
    while not log.read_text():
        time.sleep(0.01)
    assert processes.read_pid_file(tmp_path / "stubborn.pid") == started
    processes.stop(started, grace=0.3)
    assert processes.identify(started.pid) is None


def test_a_bound_program_dies_with_the_process_that_started_it(tmp_path: Path) -> None:
    code = (
        "import os, sys; from pathlib import Path; from devcluster import processes\n"
        f"child = processes.start_bound({SLEEP!r}, log=Path({str(tmp_path / 'log')!r}))\n"
        "print(child.pid, flush=True); os.kill(os.getpid(), 9)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, check=False)
    child = int(done.stdout)
    deadline = time.monotonic() + 5
    while processes.identify(child) is not None and time.monotonic() < deadline:
        time.sleep(0.02)
    assert processes.identify(child) is None


def test_descendants_are_found_through_generations() -> None:
    shell = ["/bin/sh", "-c", "sleep 60 & echo $!; wait"]
    with subprocess.Popen(shell, stdout=subprocess.PIPE) as child:
        assert child.stdout is not None
        grandchild = int(child.stdout.readline())
        assert grandchild in processes.descendants(os.getpid())
        os.kill(grandchild, 9)
