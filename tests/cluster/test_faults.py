"""What breaks under a running job, and what its owner sees and keeps."""

import json
from collections.abc import Callable
from typing import Any

from tests.cluster.harness import Job, children, items, kubectl, wait_until

LONG = {
    "maxSteps": 40,
    "globalBatchSize": 8,
    "sequenceLength": 512,
    "learningRate": "5e-3",
    "precision": "FP32",
    "gradientCheckpointing": False,
}
KILL_RANKS = (
    "for p in /proc/[0-9]*; do "
    "grep -q '[s]tages.rank' $p/cmdline 2>/dev/null && kill -9 ${p#/proc/}; done; true"
)
"""Sends SIGKILL to every rank of a container."""


def steps_published(s3: Any, job: Job) -> list[int]:
    """Steps in the published metrics, in order."""
    uri = job.status()["output"]["uri"]
    bucket, _, prefix = uri.removeprefix("s3://").partition("/")
    key = f"{prefix.rpartition('/')[0]}/report/metrics.jsonl"
    body = s3.get_object(Bucket=bucket, Key=key)["Body"].read().decode()
    return [json.loads(line)["step"] for line in body.splitlines()]


def test_a_suspended_job_frees_its_pods_and_goes_on_where_it_stopped(
    submit: Callable[..., Job], s3: Any
) -> None:
    job = submit("pause", training=LONG)
    job.wait_step(5, incarnation=1, seconds=180)
    job.patch({"suspend": True})
    job.wait_phase("Suspended", seconds=90)
    assert job.pods() == []
    assert items("pytorchjobs", job.namespace) == []
    assert job.condition("Suspended")["status"] == "True"

    job.patch({"suspend": False})
    status = job.wait_phase("Complete", "Failed", seconds=240)
    assert status["phase"] == "Complete", job.story()
    assert status["incarnation"] == 2
    assert status.get("countedFailures", 0) == 0
    assert steps_published(s3, job) == list(range(1, 41)), "no step is lost or done twice"


def test_a_deleted_pod_and_a_killed_rank_each_start_a_new_incarnation(
    submit: Callable[..., Job], s3: Any
) -> None:
    job = submit("two-faults", training=LONG)
    job.wait_step(4, incarnation=1, seconds=180)
    worker = next(p for p in job.pods() if p["metadata"]["name"].endswith("worker-0"))
    kubectl("delete", "pod", worker["metadata"]["name"], "-n", job.namespace, "--wait=false")

    job.wait_step(8, incarnation=2, seconds=180)
    kubectl(
        *("exec", job.master()["metadata"]["name"], "-n", job.namespace),
        *("--", "sh", "-c", KILL_RANKS),
    )

    status = job.wait_phase("Complete", "Failed", seconds=240)
    assert status["phase"] == "Complete", job.story()
    assert status["incarnation"] == 3
    first, second = status["attempts"][:2]
    assert first["outcome"] in {"PodLost", "Interrupted"}, first
    assert second["outcome"] == "Internal", second
    assert status["countedFailures"] == 1, "a deleted pod is not counted, a killed rank is"
    assert steps_published(s3, job) == list(range(1, 41))


def test_deleting_a_running_job_leaves_nothing(submit: Callable[..., Job]) -> None:
    job = submit("short-life", training=LONG)
    job.wait_step(2, incarnation=1, seconds=180)
    uid = job.object()["metadata"]["uid"]
    job.delete()
    wait_until("all children are gone", lambda: not list(children(job.namespace, uid)), seconds=90)


def test_a_pod_that_cannot_be_scheduled_is_named_and_tried_again(
    submit: Callable[..., Job],
) -> None:
    job = submit(
        "nowhere",
        workers={
            "nodes": 1,
            "resources": {"requests": {"example.com/gpu": "1"}, "limits": {"example.com/gpu": "1"}},
        },
        restarts={"startDeadlineSeconds": 10},
    )

    def waiting() -> bool:
        condition = job.condition("Reconciling")
        return condition.get("reason") == "WaitingForPods" and "example.com/gpu" in condition.get(
            "message", ""
        )

    wait_until("the scheduler's words are on the condition", waiting, seconds=120)

    def retried() -> bool:
        attempts = job.status().get("attempts", [])
        return any(a["reason"] == "StartDeadlineExceeded" for a in attempts)

    wait_until("the start deadline ends the first set of pods", retried, seconds=60)
    status = wait_until(
        "a second set of pods is asked for",
        lambda: job.status() if job.status().get("incarnation", 0) >= 2 else None,
        seconds=90,
    )
    assert status.get("countedFailures", 0) == 0
    assert status["phase"] != "Failed"
    assert len(items("pytorchjobs", job.namespace)) <= 1
