"""The operator dies at named points of one job's life; the job ends as if it had not."""

import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.cluster.harness import Job, items, operator_process

CRASHED = 137
POINTS = (
    "after-create-prepare",
    "before-status-attempt",
    "after-status-attempt",
    "before-create-pytorchjob",
    "after-create-pytorchjob",
    "before-status-complete",
)


def test_an_operator_killed_at_six_points_reaches_the_same_end(
    no_operator: None, submit: Callable[..., Job], tmp_path: Path
) -> None:
    job = submit("crashes")
    log = tmp_path / "operator.log"
    for point in POINTS:
        process = operator_process(job.namespace, log, FINETUNE_CRASH_AT=point)
        try:
            code = process.wait(timeout=240)
        except subprocess.TimeoutExpired:
            process.kill()
            pytest.fail(f"never reached {point}\n{log.read_text()[-4000:]}\n{job.story()}")
        assert code == CRASHED, log.read_text()[-4000:]
    process = operator_process(job.namespace, log)
    try:
        status = job.wait_phase("Complete", "Failed", seconds=240)
    finally:
        process.terminate()
        process.wait(timeout=30)
    assert status["phase"] == "Complete", job.story()
    assert (status["attempt"], status["incarnation"]) == (1, 1), "nothing was done twice"
    assert len(items("pytorchjobs", job.namespace)) == 1
    assert "Traceback" not in log.read_text()
