"""The rows of the phase table that no other test walks, against a real API server.

| from | event | to | condition |
|---|---|---|---|
| | created | Pending | none yet: Accepted is unknown |
| Pending | breaks a rule that only the operator knows | Failed | Accepted False, InvalidSpec |
| Pending | accepted | Preparing | Accepted True; DataReady Unknown |
| Preparing | the user's error | Failed | DataReady False, the reason; Stalled True |
| Preparing | done | Queued | DataReady True |
| Queued | pods pending | Queued | Reconciling True, WaitingForPods |
| Queued | all pods running | Running | Reconciling False |
| Running | stage changes | Running | progress.stage |
| Running | measured, stopAfter Baseline | Complete | Complete True, BaselineMeasured |
| Preparing, Queued, Restarting | suspended | Suspended | Suspended True |
"""

import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from finetune_api.children import PREPARE_CONTAINER, PYTORCH_CONTAINER
from finetune_api.exits import Outcome
from finetune_api.progress import PROGRESS_PORT, Progress, Stage
from finetune_api.reasons import Reason
from finetune_api.status import EvaluationStatus, Measurement
from finetune_operator.kinds import BATCH_JOBS, PODS, PYTORCHJOBS, Document
from finetune_trainer.launch.server import start_server

from tests.apiserver.play import Cluster, eventually
from tests.unit.operator.builders import PREPARED_TEXT, launch_text, prepare_text

RUNNING: Document = {"running": {}}


def conditions(status: Document) -> dict[str, tuple[str, str]]:
    """Type -> (status, reason)."""
    return {c["type"]: (c["status"], c["reason"]) for c in status["conditions"]}


async def test_a_new_job_is_pending_before_any_operator_sees_it(cluster: Cluster) -> None:
    created = await cluster.apply()

    status = created["status"]
    assert (status["phase"], status["observedGeneration"]) == ("Pending", -1)
    assert "conditions" not in status


async def test_what_only_the_operator_can_refuse_fails_before_any_pod(cluster: Cluster) -> None:
    cluster.start_operator()
    rules = [{"type": "Regex", "pattern": "("}]
    await cluster.apply(method="GRPO", grpo={"maxNewTokens": 8, "rewardFunctions": rules})
    status = await cluster.reaches("Failed")
    found = conditions(status)
    assert found["Accepted"] == ("False", "InvalidSpec")
    assert found["Failed"] == found["Stalled"] == found["Finished"] == ("True", "InvalidSpec")
    assert await cluster.all(PODS) == []


async def test_an_accepted_job_prepares_and_is_queued_when_that_is_done(cluster: Cluster) -> None:
    cluster.prepare_text, cluster.start_pods = None, False
    cluster.start_operator()
    await cluster.apply()
    status = await cluster.reaches("Preparing")
    found = conditions(status)
    assert (found["Accepted"], found["DataReady"][0]) == (("True", "Accepted"), "Unknown")
    (pod,) = await eventually(lambda: cluster.all(PODS), "the preparation's pod")
    await cluster.end_pod(pod["metadata"]["name"], PREPARED_TEXT, 0, "Completed")
    status = await cluster.reaches("Queued")
    found = conditions(status)
    assert found["DataReady"] == ("True", "DataReady")
    assert found["Reconciling"] == ("True", "WaitingForPods")


@pytest.mark.parametrize("reason", [Reason.MODEL_INVALID, Reason.STORAGE_DENIED, "OutputTaken"])
async def test_the_users_error_in_preparation_is_final(cluster: Cluster, reason: Reason) -> None:
    cluster.prepare_text = prepare_text(Outcome.USER_ERROR, Reason(reason), message="it is wrong")
    cluster.start_operator()
    await cluster.apply()
    status = await cluster.reaches("Failed")
    found = conditions(status)
    assert found["DataReady"] == ("False", reason)
    assert found["Failed"] == found["Stalled"] == ("True", reason)
    assert await cluster.all(PYTORCHJOBS) == []


async def test_pods_that_wait_for_a_node_keep_the_job_queued(cluster: Cluster) -> None:
    cluster.schedule_pods = False
    cluster.start_operator()
    await cluster.apply()
    pod = await cluster.master()
    words = "0/3 nodes are available: 3 Insufficient nvidia.com/gpu."
    unscheduled = [
        {"type": "PodScheduled", "status": "False", "reason": "Unschedulable", "message": words}
    ]
    await cluster.set_pod(
        pod, {"phase": "Pending", "conditions": unscheduled}, PYTORCH_CONTAINER, {}
    )

    async def said() -> bool:
        return words in (await cluster.says("Reconciling", "WaitingForPods"))["message"]

    await eventually(said, "the scheduler's words")
    assert (await cluster.status())["phase"] == "Queued"
    await cluster.set_pod(pod, {"phase": "Running"}, PYTORCH_CONTAINER, RUNNING)
    status = await cluster.reaches("Running")
    assert conditions(status)["Reconciling"] == ("False", "Launched")


@contextmanager
def served(folder: Path) -> Iterator[tuple[str, Path]]:
    """(an address of this machine where pods tell their progress, the file that they tell)."""
    address = f"127.{1 + secrets.randbelow(250)}.{secrets.randbelow(256)}.7"
    file = folder / "progress.json"
    server = start_server(file, PROGRESS_PORT, address)
    try:
        yield address, file
    finally:
        server.shutdown()
        server.server_close()


async def test_how_far_a_job_is_stands_in_its_status(cluster: Cluster, tmp_path: Path) -> None:
    def tell(stage: Stage, **numbers: Any) -> None:
        file.write_text(Progress(stage=stage, **numbers).model_dump_json(by_alias=True))

    async def reads(**expected: Any) -> Document:
        async def there() -> Document | None:
            status = await cluster.status()
            told = status.get("progress") or {}
            return status if expected.items() <= told.items() else None

        found: Document = await eventually(there, f"progress {expected}")
        return found

    with served(tmp_path) as (cluster.pod_ip, file):
        cluster.prepare_text = None
        cluster.start_operator()
        await cluster.apply()
        (pod,) = await eventually(lambda: cluster.all(PODS), "the preparation's pod")
        name = pod["metadata"]["name"]
        tell(Stage.PREPARING, stage_percent=40)
        here = {"phase": "Running", "podIP": cluster.pod_ip}
        await cluster.set_pod(name, here, PREPARE_CONTAINER, RUNNING)
        assert (await reads(stage="Preparing", stagePercent=40))["phase"] == "Preparing"
        tell(Stage.TRAINING, step=50, total_steps=100, percent=50, resumed_from_step=0)
        await cluster.end_pod(name, PREPARED_TEXT, 0, "Completed")
        await cluster.reaches("Running")
        await reads(stage="Training", step=50)
        await cluster.delete_pod(await cluster.master())
        tell(Stage.TRAINING, step=41, total_steps=100, percent=41, resumed_from_step=40)
        await cluster.reaches("Running", incarnation=2)
        (attempt,) = (await reads(stage="Training", resumedFromStep=40))["attempts"]
        assert (attempt["lastStep"], attempt["lostSteps"]) == (50, 10)
        before = await cluster.job()
        await cluster.apply("second")
        await cluster.reaches("Preparing", name="second")
        after = await cluster.job()
        assert after["metadata"]["resourceVersion"] == before["metadata"]["resourceVersion"]


async def test_a_job_that_stops_after_its_baseline_shows_what_was_measured(
    cluster: Cluster,
) -> None:
    cluster.start_operator()
    await cluster.apply(stopAfter="Baseline")
    await cluster.reaches("Running")
    evaluation = EvaluationStatus(before=Measurement(cross_entropy="3.1"))
    text = launch_text(
        Outcome.DONE, Reason.BASELINE_MEASURED, evaluation=evaluation, recipe_hash="bb"
    )
    await cluster.end_pod(await cluster.master(), text, 0, "Completed")
    status = await cluster.reaches("Complete")
    assert conditions(status)["Complete"] == ("True", "BaselineMeasured")
    assert status["evaluation"] == {"before": {"crossEntropy": "3.1"}}
    assert "output" not in status
    assert [(a["outcome"], a["reason"]) for a in status["attempts"]] == [
        ("Done", "BaselineMeasured")
    ]


async def test_suspended_while_it_prepares(cluster: Cluster) -> None:
    cluster.prepare_text = None
    cluster.start_operator()
    await cluster.apply()
    await cluster.reaches("Preparing")
    await cluster.suspend(True)
    status = await cluster.reaches("Suspended")
    assert conditions(status)["Suspended"] == ("True", "Suspended")
    assert await cluster.all(BATCH_JOBS) == []
    cluster.prepare_text = PREPARED_TEXT
    await cluster.suspend(False)
    await cluster.reaches("Running")


async def test_suspended_while_it_is_queued(cluster: Cluster) -> None:
    cluster.start_pods = False
    cluster.start_operator()
    await cluster.apply()
    await eventually(lambda: cluster.all(PYTORCHJOBS), "a PyTorchJob")
    await cluster.suspend(True)
    await cluster.reaches("Suspended")
    assert await cluster.all(PYTORCHJOBS) == []
    cluster.start_pods = True
    await cluster.suspend(False)
    status = await cluster.reaches("Running", incarnation=2)
    assert (status["attempt"], status.get("countedFailures", 0)) == (1, 0)


async def test_suspended_while_it_waits_for_the_next_attempt(cluster: Cluster) -> None:
    cluster.start_operator(FINETUNE_RETRY_SECONDS="60")
    await cluster.apply()
    await cluster.reaches("Running")
    await cluster.end_pod(await cluster.master(), "boom", 1)
    await cluster.reaches("Restarting")
    await cluster.suspend(True)
    status = await cluster.reaches("Suspended")
    assert "retryAt" not in status
    await cluster.suspend(False)
    status = await cluster.reaches("Running", incarnation=2)
    assert status["countedFailures"] == 1
