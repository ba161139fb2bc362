"""Without PyTorchJob: jobs of one pod as batch/v1 Jobs, through an eviction, a kill for memory, and
the removal of what is left."""

import json
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.cluster.harness import Job, children, get, items, operator_process, wait_until
from tests.cluster.test_faults import LONG, steps_published

ONE = {
    "nodes": 1,
    "resources": {"requests": {"cpu": "50m", "memory": "300Mi"}, "limits": {"memory": "3Gi"}},
}
TOO_SMALL = {
    "nodes": 1,
    "resources": {"requests": {"cpu": "50m", "memory": "64Mi"}, "limits": {"memory": "160Mi"}},
}


@pytest.fixture
def job_backend(no_operator: None, namespace: str, tmp_path: Path) -> Iterator[Path]:
    """An operator that runs pods as batch Jobs; its log."""
    log = tmp_path / "operator.log"
    process = operator_process(namespace, log, FINETUNE_BACKEND="Job", FINETUNE_RETRY_SECONDS="1")
    yield log
    process.terminate()
    process.wait(timeout=30)


@pytest.mark.timeout(900)
def test_jobs_of_one_pod_live_and_end_without_the_training_operator(
    job_backend: Path, submit: Callable[..., Job], s3: object
) -> None:
    small = submit("too-small", workers=TOO_SMALL, restarts={"max": 1})
    evicted = submit(
        "evicted", workers=ONE, training=LONG, ttlSecondsAfterFinished=5, restarts={"max": 0}
    )
    wide = submit("too-wide", training=LONG)

    check_killed_for_memory(small)
    evicted.wait_step(5, incarnation=1, seconds=240)
    evicted.evict()
    status = evicted.wait_phase("Complete", "Failed", seconds=300)
    assert status["phase"] == "Complete", evicted.story()
    assert (status["backend"], status["incarnation"]) == ("Job", 2)
    assert status.get("countedFailures", 0) == 0, "an eviction uses up none of restarts.max"
    assert status["attempts"][0]["outcome"] in {"PodLost", "Interrupted"}
    assert steps_published(s3, evicted) == list(range(1, 41))
    check_expired(evicted)

    waiting = wait_until(
        "two pods are no batch Job",
        lambda: wide.condition("Reconciling") if wide.status().get("prepared") else None,
        seconds=240,
    )
    assert waiting["reason"] == "BackendUnavailable"
    assert "workers.nodes is 2" in waiting["message"]
    assert items("pytorchjobs", small.namespace) == []
    assert "Traceback" not in job_backend.read_text()


def check_killed_for_memory(job: Job) -> None:
    """Two attempts, the second with half the micro-batch, and what to change."""
    status = job.wait_phase("Failed", "Complete", seconds=300)
    assert status["phase"] == "Failed", job.story()
    assert [a["outcome"] for a in status["attempts"]] == ["OutOfMemory"] * 2, job.story()
    assert status["countedFailures"] == 2
    failed = job.condition("Failed")
    assert failed["reason"] == "RestartsExhausted"
    assert "workers.resources.limits.memory" in failed["message"]
    name = f"{job.name}-{job.object()['metadata']['uid'][:8]}-a2"
    run = get("configmap", name, job.namespace)
    assert run is not None
    overrides = json.loads(run["data"]["run.json"])["overrides"]
    assert overrides == {"microBatchTokens": 256}


def check_expired(job: Job) -> None:
    """The children are gone after the ttl, the job and its result are not."""
    uid = job.object()["metadata"]["uid"]
    wait_until("the ttl", lambda: not list(children(job.namespace, uid)), seconds=60)
    assert job.status()["phase"] == "Complete"
