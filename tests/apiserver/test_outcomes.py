"""How a run ends, row by row, against a real API server: what the operator makes of each end.

| outcome | counted | next set of pods |
|---|---|---|
| done | | none: Complete |
| user error | | none: Failed |
| out of memory, of a device or the host | yes | at once, with half the micro-batch |
| infrastructure, hang, internal, a signal, an unknown code | yes | after a backoff |
| interrupted; node lost, evicted, preempted, deleted by hand | no | at once |

Whatever it was, `kubectl describe` alone says the cause and what to do.
"""

import json
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

import pytest
from finetune_api.children import PYTORCH_CONTAINER
from finetune_api.exits import Outcome
from finetune_api.reasons import Reason, remedy
from finetune_operator.kinds import BATCH_JOBS, CONFIG_MAPS, EVENTS, PODS, PYTORCHJOBS, Document

from tests.apiserver.play import Cluster, eventually
from tests.unit.operator.builders import PUBLISHED_TEXT, launch_text

RETRY_SECONDS = 5
"""The first backoff: longer than the operator needs for a new set of pods."""
SEQUENCE_LENGTH = 2048
End = Callable[[Cluster, str], Awaitable[None]]
"""Ends the pod of that name."""


def says(outcome: Outcome, reason: Reason, code: int, **fields: Any) -> End:
    """Its process ends with a message."""
    return ends(launch_text(outcome, reason, **fields), code)


def ends(text: str, code: int, reason: str = "Error") -> End:
    """Its container ends."""

    async def end(cluster: Cluster, pod: str) -> None:
        await cluster.end_pod(pod, text, code, reason)

    return end


def becomes(container: Document, **status: Any) -> End:
    """The node or the control plane writes its status."""

    async def end(cluster: Cluster, pod: str) -> None:
        await cluster.set_pod(pod, status, PYTORCH_CONTAINER, container)

    return end


def disrupted(reason: str, message: str) -> list[Document]:
    return [{"type": "DisruptionTarget", "status": "True", "reason": reason, "message": message}]


async def delete(cluster: Cluster, pod: str) -> None:
    """Somebody deletes it."""
    await cluster.delete_pod(pod)


RUNNING: Document = {"running": {"startedAt": "2026-01-02T03:04:05Z"}}
STOPPED: Document = {"terminated": {"exitCode": 143, "reason": "Error"}}


@dataclass(frozen=True)
class Row:
    """An end and what follows from it."""

    end: End
    outcome: str
    reason: Reason
    words: str
    """Part of what the attempt says."""
    counted: bool = False
    halves: bool = False
    """The next attempt runs with half the micro-batch."""
    phase: str = "Running"
    """Phase that the job comes to next."""
    more: dict[str, Any] = field(default_factory=dict)
    """Other fields of the attempt."""

    @property
    def backs_off(self) -> bool:
        """Whether the next set of pods waits."""
        return self.counted and not self.halves


ROWS = {
    "done": Row(
        ends(PUBLISHED_TEXT, 0, "Completed"),
        "Done",
        Reason.PUBLISHED,
        "",
        phase="Complete",
        more={"exitCode": 0, "lastStep": 12},
    ),
    "user error": Row(
        says(Outcome.USER_ERROR, Reason.DIVERGED, 64, message="loss is not finite", where="step 9"),
        "UserError",
        Reason.DIVERGED,
        "step 9: loss is not finite",
        phase="Failed",
        more={"exitCode": 64},
    ),
    "out of memory of a device": Row(
        says(Outcome.OUT_OF_MEMORY, Reason.OUT_OF_MEMORY, 65, message="device 0 is full"),
        "OutOfMemory",
        Reason.OUT_OF_MEMORY,
        "device 0 is full",
        counted=True,
        halves=True,
        more={"exitCode": 65},
    ),
    "out of memory of the host": Row(
        ends("", 137, "OOMKilled"),
        "OutOfMemory",
        Reason.OUT_OF_MEMORY,
        "ended with code 137: OOMKilled",
        counted=True,
        halves=True,
        more={"exitCode": 137},
    ),
    "interrupted with checkpoint": Row(
        says(Outcome.INTERRUPTED, Reason.INTERRUPTED, 75, last_step=9, checkpoint_step=9),
        "Interrupted",
        Reason.INTERRUPTED,
        "",
        more={"exitCode": 75, "lastStep": 9, "lostSteps": 0},
    ),
    "infrastructure": Row(
        says(Outcome.INFRASTRUCTURE, Reason.STORAGE_UNAVAILABLE, 74, message="store is away"),
        "Infrastructure",
        Reason.STORAGE_UNAVAILABLE,
        "store is away",
        counted=True,
        more={"exitCode": 74},
    ),
    "hang": Row(
        says(Outcome.INFRASTRUCTURE, Reason.HANG, 74, last_step=12, checkpoint_step=9),
        "Infrastructure",
        Reason.HANG,
        "",
        counted=True,
        more={"exitCode": 74, "lastStep": 12, "lostSteps": 3},
    ),
    "internal": Row(
        says(Outcome.INTERNAL, Reason.INTERNAL_ERROR, 70, message="KeyError: x"),
        "Internal",
        Reason.INTERNAL_ERROR,
        "KeyError: x",
        counted=True,
        more={"exitCode": 70},
    ),
    "signal": Row(
        ends("", 139),
        "Internal",
        Reason.INTERNAL_ERROR,
        "ended with code 139",
        counted=True,
        more={"exitCode": 139},
    ),
    "unknown code": Row(
        ends("Traceback:\n" + "x" * 3000 + "\nboom", 1),
        "Internal",
        Reason.INTERNAL_ERROR,
        "boom",
        counted=True,
        more={"exitCode": 1},
    ),
    "node lost": Row(
        becomes(
            RUNNING,
            phase="Running",
            conditions=disrupted("DeletionByTaintManager", "deleting due to NoExecute taint"),
        ),
        "PodLost",
        Reason.POD_LOST,
        "NoExecute taint",
    ),
    "evicted": Row(
        becomes({}, phase="Failed", reason="Evicted", message="node was low on resource: memory"),
        "PodLost",
        Reason.POD_LOST,
        "low on resource",
    ),
    "preempted": Row(
        becomes(
            STOPPED,
            phase="Failed",
            conditions=disrupted("PreemptionByScheduler", "for a pod of higher priority"),
        ),
        "PodLost",
        Reason.POD_LOST,
        "higher priority",
        more={"exitCode": 143},
    ),
    "deleted by hand": Row(delete, "PodLost", Reason.POD_LOST, ""),
}


@pytest.mark.parametrize("row", ROWS.values(), ids=ROWS.keys())
async def test_how_a_run_ends(cluster: Cluster, row: Row) -> None:
    cluster.start_operator(FINETUNE_RETRY_SECONDS=str(RETRY_SECONDS))
    await cluster.apply(training={"sequenceLength": SEQUENCE_LENGTH})
    await cluster.reaches("Running")
    await row.end(cluster, await cluster.master())
    goes_on = row.phase == "Running"
    status = await cluster.reaches(row.phase, incarnation=2 if goes_on else 1)

    (attempt,) = status["attempts"]
    found = (attempt["outcome"], attempt["reason"], attempt["incarnation"])
    assert found == (row.outcome, row.reason, 1)
    assert row.words in attempt["message"]
    assert len(attempt["message"]) <= 1024
    assert {name: attempt[name] for name in row.more} == row.more
    assert status.get("countedFailures", 0) == int(row.counted)
    assert status["attempt"] == (2 if row.counted else 1)
    await told_what_to_do(cluster, row)
    if not goes_on:
        assert "restartSeconds" not in attempt
        return
    assert status["incarnation"] == 2
    assert attempt["restartSeconds"] >= 0
    half = SEQUENCE_LENGTH // 2 if row.halves else None
    assert status.get("microBatchTokens") == half
    assert await override(cluster, status["attempt"]) == half
    waited = await seconds_until_next(cluster, attempt["endedAt"])
    assert (waited >= RETRY_SECONDS) == row.backs_off


async def told_what_to_do(cluster: Cluster, row: Row) -> None:
    """An event carries the cause and its remedy; so does the condition of a job that failed."""
    reason = row.reason if row.phase != "Running" else Reason.RESTARTING
    if row.phase == "Failed":
        failed = await cluster.says("Failed", row.reason)
        assert row.words in failed["message"]
        assert failed["message"].endswith(remedy(row.reason))

    async def told() -> Document | None:
        events = await cluster.all(EVENTS)
        return next((event for event in events if event["reason"] == reason), None)

    event = await eventually(told, f"an event with reason {reason}")
    assert event["type"] == ("Normal" if row.phase == "Complete" else "Warning")
    assert row.words in event["message"]
    if row.phase != "Complete":
        assert event["message"].endswith(remedy(row.reason))
    if reason is Reason.RESTARTING:
        assert row.reason in event["message"]


async def override(cluster: Cluster, attempt: int) -> int | None:
    """The micro-batch that the run file of an attempt sets outside the recipe."""
    maps = {each["metadata"]["name"]: each for each in await cluster.all(CONFIG_MAPS)}
    name = next(name for name in maps if name.endswith(f"-a{attempt}"))
    assert not any(other.endswith(f"-a{attempt + 1}") for other in maps)
    text = maps[name]["data"]["run.json"]
    found: int | None = json.loads(text).get("overrides", {}).get("microBatchTokens")
    return found


async def seconds_until_next(cluster: Cluster, ended: str) -> float:
    """From the end of the first set of pods until the second was made, in whole seconds."""
    sets = await cluster.all(PYTORCHJOBS)
    made = next(s for s in sets if s["metadata"]["name"].endswith("-2"))
    begun = datetime.fromisoformat(made["metadata"]["creationTimestamp"])
    return (begun - datetime.fromisoformat(ended)).total_seconds()


async def test_a_preparation_that_is_killed_for_memory_names_the_limit(cluster: Cluster) -> None:
    cluster.prepare_text = None
    cluster.start_operator()
    await cluster.apply()
    (pod,) = await eventually(lambda: cluster.all(PODS), "the preparation's pod")
    await cluster.end_pod(pod["metadata"]["name"], "", 137, "OOMKilled")

    async def tried_again() -> Document | None:
        told = await cluster.says("DataReady", "Preparing")
        return told if "OutOfMemory" in told["message"] else None

    told = await eventually(tried_again, "the cause")
    assert "preparation.resources.limits.memory" in told["message"]
    (job,) = await cluster.all(BATCH_JOBS)
    moment = job["metadata"]["creationTimestamp"]
    over = {"status": "True", "reason": "BackoffLimitExceeded", "lastTransitionTime": moment}
    conditions = [{"type": kind, **over} for kind in ("FailureTarget", "Failed")]
    body = {"status": {"failed": 1, "conditions": conditions}}
    await cluster.change(BATCH_JOBS, job["metadata"]["name"], body, "/status")
    failed = await cluster.says("Failed", "RestartsExhausted")
    assert "last by OutOfMemory" in failed["message"]
    assert "preparation.resources.limits.memory" in failed["message"]
    assert (await cluster.says("DataReady", "OutOfMemory"))["status"] == "False"
