"""The operator dies at named points of one job's life; the job ends as if it had not."""

import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from devcluster.ports import free_ports
from tests.cluster.harness import Job, items, kubectl

ROOT = Path(__file__).resolve().parents[2]
SYSTEM_NAMESPACE = "finetune-system"
CRASHED = 137
POINTS = (
    "after-create-prepare",
    "before-status-attempt",
    "after-status-attempt",
    "before-create-pytorchjob",
    "after-create-pytorchjob",
    "before-status-complete",
)


@pytest.fixture
def no_operator(operator: None) -> Iterator[None]:
    """The installed operator is scaled to nothing for the time of a test."""
    scale = ("scale", "deployment/finetune-operator", "-n", SYSTEM_NAMESPACE)
    kubectl(*scale, "--replicas=0")
    kubectl(
        *("wait", "--for=delete", "pod", "-n", SYSTEM_NAMESPACE, "--timeout=60s"),
        *("-l", "app.kubernetes.io/name=finetune-operator"),
    )
    yield
    kubectl(*scale, "--replicas=1")


def _operator(namespace: str, log: Path, crash_at: str | None) -> subprocess.Popen[bytes]:
    """An operator of our own on this machine that dies at `crash_at`."""
    environment = {
        **os.environ,
        "FINETUNE_TRAINER_IMAGE": "docker.io/finetune-operator/trainer:dev",
        "FINETUNE_NAMESPACES": namespace,
        "FINETUNE_LEADER_ELECTION": "false",
        "FINETUNE_HEALTH_PORT": str(free_ports(1)[0]),
        "POD_NAMESPACE": SYSTEM_NAMESPACE,
        "POD_NAME": "crash-test",
        "FINETUNE_CRASH_AT": crash_at or "",
    }
    with log.open("ab") as output:
        return subprocess.Popen(
            [sys.executable, "-m", "finetune_operator"],
            cwd=ROOT,
            env=environment,
            stdout=output,
            stderr=subprocess.STDOUT,
        )


def test_an_operator_killed_at_six_points_reaches_the_same_end(
    no_operator: None, submit: Callable[..., Job], tmp_path: Path
) -> None:
    job = submit("crashes")
    log = tmp_path / "operator.log"
    for point in POINTS:
        process = _operator(job.namespace, log, point)
        try:
            code = process.wait(timeout=240)
        except subprocess.TimeoutExpired:
            process.kill()
            pytest.fail(f"never reached {point}\n{log.read_text()[-4000:]}\n{job.story()}")
        assert code == CRASHED, log.read_text()[-4000:]
    process = _operator(job.namespace, log, None)
    try:
        status = job.wait_phase("Complete", "Failed", seconds=240)
    finally:
        process.terminate()
        process.wait(timeout=30)
    assert status["phase"] == "Complete", job.story()
    assert (status["attempt"], status["incarnation"]) == (1, 1), "nothing was done twice"
    assert len(items("pytorchjobs", job.namespace)) == 1
    assert "Traceback" not in log.read_text()
