"""What a pod says of its end, and the small parts around it."""

import json
import os
import signal
import socket
import subprocess
import sys
import textwrap
import urllib.error
import urllib.request
from pathlib import Path

import pytest
import torch
from finetune_api.errors import InternalError
from finetune_api.exits import Outcome
from finetune_api.messages import LaunchMessage
from finetune_api.progress import Progress, Stage
from finetune_api.reasons import Reason
from finetune_api.spec import Workers
from finetune_api.status import EvaluationStatus, OutputStatus
from finetune_trainer.launch.memory import oom_kills
from finetune_trainer.launch.results import RankEnd, prepare_folder, read_results, write_result
from finetune_trainer.launch.server import start_server
from finetune_trainer.launch.topology import Topology, threads_per_process
from finetune_trainer.launch.verdict import verdict
from finetune_trainer.pulse import Known
from finetune_trainer.stages.rank import unexpected_end

from tests.unit.trainer.engine_support import REPOSITORY


def said(outcome: Outcome, reason: Reason, text: str = "") -> LaunchMessage:
    return LaunchMessage(outcome=outcome, reason=reason, message=text)


OUTPUT = OutputStatus(uri="s3://b/adapter", manifest_sha256="0" * 64, base_model="base")
DONE = LaunchMessage(outcome=Outcome.DONE, reason=Reason.PUBLISHED, output=OUTPUT)
DONE_ELSEWHERE = said(Outcome.DONE, Reason.PUBLISHED)
LOST = said(Outcome.INFRASTRUCTURE, Reason.PEER_LOST)
STOPPED = said(Outcome.INTERRUPTED, Reason.INTERRUPTED)
BROKEN = said(Outcome.USER_ERROR, Reason.DIVERGED)
STORE = said(Outcome.INFRASTRUCTURE, Reason.STORAGE_UNAVAILABLE)


@pytest.mark.parametrize(
    ("ends", "asked", "memory", "outcome", "reason"),
    [
        ([RankEnd(0, DONE, 2, -6), RankEnd(1, DONE_ELSEWHERE, 1)], 0, 0, "Done", "Published"),
        ([RankEnd(0, LOST, 1, 74), RankEnd(1, BROKEN, 2, 64)], 0, 0, "UserError", "Diverged"),
        ([RankEnd(0, BROKEN, 2), RankEnd(1, STORE, 1)], 0, 0, "Infrastructure", None),
        ([RankEnd(0, LOST, 1, 74), RankEnd(1, None, 0, -9)], 0, 1, "OutOfMemory", "OutOfMemory"),
        ([RankEnd(0, LOST, 1, 74), RankEnd(1, None, 0, -9)], 0, 0, "Internal", "InternalError"),
        ([RankEnd(0, LOST, 1, 74)], 0, 0, "Infrastructure", "PeerLost"),
        ([RankEnd(0, LOST, 1, 74)], 1, 0, "Interrupted", "Interrupted"),
        ([RankEnd(0, STOPPED, 1), RankEnd(1, LOST, 1)], 0, 0, "Interrupted", "Interrupted"),
        ([RankEnd(0, STOPPED, 2), RankEnd(1, BROKEN, 1)], 0, 0, "UserError", "Diverged"),
        ([RankEnd(0, None, 0, 3)], 0, 0, "Internal", "InternalError"),
        ([], 1, 0, "Interrupted", "Interrupted"),
        ([], 0, 0, "Internal", "InternalError"),
    ],
)
def test_the_cause_speaks_before_its_consequences(
    ends: list[RankEnd], asked: int, memory: int, outcome: str, reason: str | None
) -> None:
    message = verdict(ends, asked_to_stop=bool(asked), out_of_memory=bool(memory))
    assert message.outcome == outcome
    assert reason is None or message.reason == reason


def test_the_result_of_the_publishing_rank_is_the_one_that_names_the_output() -> None:
    ends = [RankEnd(1, DONE_ELSEWHERE, 1), RankEnd(0, DONE, 2)]
    assert verdict(ends, asked_to_stop=True, out_of_memory=False).output == OUTPUT


@pytest.mark.parametrize(
    "error",
    [
        torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB"),
        MemoryError(),
        RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried to allocate 9 bytes"),
        RuntimeError("CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling `cublasCreate(handle)`"),
        RuntimeError("NCCL error: unhandled cuda error: Cuda failure 2 'out of memory'"),
    ],
    ids=["device", "host", "allocator of CPUs", "cuBLAS", "NCCL"],
)
def test_memory_that_runs_out_is_told_as_such_in_the_words_of_its_library(
    error: Exception,
) -> None:
    message = unexpected_end(error, Known(last_step=7), peer_loss=False)
    assert (message.outcome, message.reason) == (Outcome.OUT_OF_MEMORY, Reason.OUT_OF_MEMORY)
    assert (str(error) in message.message, message.last_step) == (True, 7)


def test_a_rank_that_measured_speaks_for_those_that_helped() -> None:
    told = LaunchMessage(
        outcome=Outcome.DONE, reason=Reason.BASELINE_MEASURED, evaluation=EvaluationStatus()
    )
    helped = said(Outcome.DONE, Reason.BASELINE_MEASURED)
    ends = [RankEnd(1, helped, 1), RankEnd(0, told, 2)]
    assert verdict(ends, asked_to_stop=False, out_of_memory=False) == told


def test_of_ranks_that_stopped_the_one_that_knows_what_is_saved_speaks() -> None:
    saved = STOPPED.model_copy(update={"checkpoint_step": 7})
    ends = [RankEnd(0, saved, ended_at=2), RankEnd(1, STOPPED, ended_at=1)]
    assert verdict(ends, asked_to_stop=True, out_of_memory=False).checkpoint_step == 7


def test_a_hang_is_told_unless_a_rank_knows_better() -> None:
    hang = said(Outcome.INFRASTRUCTURE, Reason.HANG)
    killed = RankEnd(1, None, exit_code=-9)
    for knows, told in ((LOST, hang), (BROKEN, BROKEN), (DONE, DONE)):
        ends = [RankEnd(0, knows, 1), killed]
        assert verdict(ends, asked_to_stop=False, out_of_memory=False, hang=hang) == told


def test_a_silent_death_names_rank_and_signal() -> None:
    message = verdict([RankEnd(3, None, 0, -11)], asked_to_stop=False, out_of_memory=False)
    assert "rank 3 was killed by SIGSEGV" in message.message


def test_results_survive_the_disk_and_old_ones_are_removed(tmp_path: Path) -> None:
    prepare_folder(tmp_path)
    write_result(tmp_path, 0, DONE)
    ends = read_results(tmp_path, {0: -6, 1: -9})
    assert [(end.rank, end.message, end.exit_code) for end in ends] == [
        (0, DONE, -6),
        (1, None, -9),
    ]
    prepare_folder(tmp_path)
    assert read_results(tmp_path, {}) == []


def test_kills_for_memory_are_read_from_the_control_group(tmp_path: Path) -> None:
    events = tmp_path / "memory.events"
    assert oom_kills((events,)) == 0
    events.write_text("low 0\noom 4\noom_kill 3\n")
    assert oom_kills((events,)) == 3


def test_pods_find_their_place_from_the_variables_of_the_training_operator() -> None:
    env = {"MASTER_ADDR": "job-master-0", "MASTER_PORT": "23456", "RANK": "1"}
    workers = Workers(nodes=2, processes_per_node=4)
    assert Topology.of(workers, env) == Topology(2, 1, 4, "job-master-0", 23456)
    assert Topology.of(workers, env | {"PET_NODE_RANK": "0"}).node_rank == 0
    with pytest.raises(InternalError, match="MASTER_PORT"):
        Topology.of(workers, {"MASTER_ADDR": "a", "RANK": "0"})
    with pytest.raises(InternalError, match="node rank 2"):
        Topology.of(workers, env | {"RANK": "2"})
    alone = Topology.of(Workers(), {})
    assert (alone.nodes, alone.node_rank, alone.master_address) == (1, 0, "127.0.0.1")
    assert threads_per_process(10_000) == 1


def get(port: int, path: str) -> tuple[int, str]:
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}{path}", timeout=5) as answer:
            return answer.status, answer.read().decode()
    except urllib.error.HTTPError as error:
        with error:
            return error.code, ""


def test_progress_is_served_as_json_and_as_metrics(tmp_path: Path) -> None:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    file = tmp_path / "progress.json"
    server = start_server(file, port, "127.0.0.1")
    try:
        assert get(port, "/progress")[0] == 503
        progress = Progress(stage=Stage.TRAINING, step=3, total_steps=9, percent=33, loss="2.5")
        file.write_text(progress.model_dump_json(by_alias=True))
        status, body = get(port, "/progress")
        assert status == 200
        assert Progress.parse_wire(json.loads(body)) == progress
        metrics = get(port, "/metrics")[1].splitlines()
        assert "finetune_step 3" in metrics
        assert "finetune_loss 2.5" in metrics
        assert 'finetune_stage{stage="Training"} 1' in metrics
        assert 'finetune_stage{stage="Fetching"} 0' in metrics
        assert get(port, "/etc/passwd")[0] == 404
    finally:
        server.shutdown()
        server.server_close()


INIT = """
    import os, signal, subprocess, sys, time
    from finetune_trainer.launch.init import run_as_init

    def work():
        # A grandchild that outlives its parent becomes init's; it ends before we do.
        orphan = "import time; time.sleep(0.3)"
        shell = "import subprocess, sys; print(subprocess.Popen([sys.executable, '-c', %r]).pid)"
        found = subprocess.run([sys.executable, "-c", shell % orphan], stdout=subprocess.PIPE)
        pid = int(found.stdout)
        caught = []
        signal.signal(signal.SIGTERM, lambda *_: caught.append(1))
        print("ready", flush=True)
        while not caught:
            time.sleep(0.02)
        for _ in range(200):
            if not os.path.exists(f"/proc/{pid}"):
                return 75
            time.sleep(0.05)
        return 1

    sys.exit(run_as_init(work))
"""


def test_the_first_process_forwards_sigterm_reaps_orphans_and_returns_the_code() -> None:
    process = subprocess.Popen(
        [sys.executable, "-c", textwrap.dedent(INIT)],
        env={**os.environ, "PYTHONPATH": f"{REPOSITORY}/api:{REPOSITORY}/trainer_image"},
        stdout=subprocess.PIPE,
        text=True,
    )
    assert process.stdout is not None
    with process.stdout:
        assert process.stdout.readline() == "ready\n"
        process.send_signal(signal.SIGTERM)
        assert process.wait(timeout=30) == 75
