"""A refusal is one sentence that says what to do."""

from __future__ import annotations

import os
import socket
from pathlib import Path

import pytest

from devcluster import commands, ports, preflight
from devcluster.errors import Refusal, failure
from devcluster.paths import Layout

TABLE = """\
  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode
   0: 0100007F:192B 00000000:0000 0A 00000000:00000000 00:00000000 00000000     0        0 4711 1
   1: 0100F40A:1B9E 00000000:0000 0A 00000000:00000000 00:00000000 00000000     0        0 4712 1
   2: 0100007F:0050 0100007F:9999 01 00000000:00000000 00:00000000 00000000     0        0 4713 1
   3: 00000000:2537 00000000:0000 0A 00000000:00000000 00:00000000 00000000     0        0 4714 1
"""


@pytest.mark.parametrize(
    ("port", "address", "inode"),
    [
        (6443, "127.0.0.1", "4711"),
        (7070, "10.244.0.1", "4712"),
        (7070, "127.0.0.1", None),
        (80, "127.0.0.1", None),
        (9527, "10.244.0.1", "4714"),
        (6443, None, "4711"),
    ],
)
def test_only_a_listener_on_the_same_or_every_address_conflicts(
    port: int, address: str | None, inode: str | None
) -> None:
    assert ports.listening_inode(TABLE, port, address) == inode


def test_the_refusal_of_a_taken_port_names_port_part_and_process() -> None:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen()
        port = listener.getsockname()[1]
        with pytest.raises(
            Refusal, match=rf"Port {port} for etcd is taken by process (\d+)"
        ) as told:
            ports.refuse_taken(port, "127.0.0.1", "etcd")
    assert f"process {os.getpid()} (" in str(told.value)
    ports.refuse_taken(port, "127.0.0.1", "etcd")


def test_a_taken_port_of_an_unseen_process_is_refused_without_one() -> None:
    message = ports.taken_message(53, "coredns", None, "")
    assert message == "Port 53 for coredns is taken: end that program, then run this again."


def test_free_ports_differ() -> None:
    assert len(set(ports.free_ports(20))) == 20


def test_root_is_asked_for_with_the_way_that_needs_none() -> None:
    assert preflight.not_root(0) is None
    assert "devcluster api" in (preflight.not_root(1000) or "")


def test_a_full_disk_is_refused_with_both_sizes() -> None:
    need = 15 * preflight.GIB
    assert preflight.too_little_disk(need, need, Path("/data")) is None
    told = preflight.too_little_disk(4 * preflight.GIB, need, Path("/data")) or ""
    assert told.startswith("Only 4 GiB are free for /data and 15 are needed:")
    assert told.count(". ") == 0


def test_a_missing_program_is_named_with_the_way_to_get_it() -> None:
    with pytest.raises(Refusal, match="The program no-such-program is missing: install Go\\."):
        commands.program("no-such-program", "install Go")


def test_a_failed_program_shows_the_end_of_its_output_and_the_advice() -> None:
    output = "\n".join(f"line {number}" for number in range(100))
    told = str(failure("go build", output, "Try again."))
    assert "line 99" in told
    assert "line 80\n" not in told
    assert told.endswith("Try again.")


def test_a_second_cluster_with_another_folder_is_refused(tmp_path: Path) -> None:
    first = Layout(tmp_path / "first", run=tmp_path / "run")
    first.make()
    preflight.same_home(first)
    (first.run / "home").write_text(str(first.home))
    preflight.same_home(first)
    with pytest.raises(Refusal, match=f"FINETUNE_DEVCLUSTER_HOME={first.home} or"):
        preflight.same_home(Layout(tmp_path / "second", run=tmp_path / "run"))
