"""The phase table against a real API server, with the operator as a process."""

from finetune_api.children import PREPARE_CONTAINER
from finetune_api.exits import Outcome
from finetune_api.job import LABEL_JOB_UID
from finetune_api.reasons import Reason
from finetune_operator.kinds import (
    BATCH_JOBS,
    CONFIG_MAPS,
    EVENTS,
    JOBS,
    PODS,
    PYTORCHJOBS,
)

from tests.apiserver.play import Cluster, eventually
from tests.unit.operator.builders import OUTPUT, launch_text, prepare_text


async def test_a_job_goes_from_rows_to_a_published_adapter(cluster: Cluster) -> None:
    cluster.start_operator()
    made = await cluster.apply(workers={"nodes": 2})
    await cluster.reaches("Running")
    await cluster.publish()
    status = await cluster.reaches("Complete")
    assert status["output"] == OUTPUT.to_wire()
    assert status["observedGeneration"] == 1
    assert [a["outcome"] for a in status["attempts"]] == ["Done"]
    uid = made["metadata"]["uid"]
    for kind, count in ((CONFIG_MAPS, 2), (BATCH_JOBS, 1), (PYTORCHJOBS, 1)):
        found, _ = await cluster.client.list_all(kind, cluster.namespace, f"{LABEL_JOB_UID}={uid}")
        assert len(found) == count
        for child in found:
            (owner,) = child["metadata"]["ownerReferences"]
            assert (owner["uid"], owner["controller"]) == (uid, True)
    reasons = {event["reason"] for event in await cluster.all(EVENTS)}
    assert {"Preparing", "Launched", "Published"} <= reasons


async def test_bad_rows_end_the_job_before_any_training_pod(cluster: Cluster) -> None:
    cluster.prepare_text = prepare_text(
        Outcome.USER_ERROR, Reason.INVALID_DATA, message="row 7 is empty", where="s3://data:7"
    )
    cluster.start_operator()
    await cluster.apply()
    status = await cluster.reaches("Failed")
    failed = next(c for c in status["conditions"] if c["type"] == "Failed")
    assert failed["reason"] == "InvalidData"
    assert failed["message"].startswith("s3://data:7: row 7 is empty. Mend the rows")
    assert await cluster.all(PYTORCHJOBS) == []


async def test_a_job_that_stops_after_its_data_takes_no_training_pod(cluster: Cluster) -> None:
    cluster.start_operator()
    await cluster.apply(stopAfter="Data")
    status = await cluster.reaches("Complete")
    reasons = {c["type"]: c["reason"] for c in status["conditions"] if c["status"] == "True"}
    assert reasons == {
        "Accepted": "Accepted",
        "DataReady": "DataReady",
        "Complete": "DataPrepared",
        "Finished": "DataPrepared",
    }
    assert await cluster.all(PYTORCHJOBS) == []


async def test_the_same_recipe_is_adopted(cluster: Cluster) -> None:
    cluster.prepare_text = prepare_text(Outcome.DONE, Reason.ALREADY_PUBLISHED, adopted=OUTPUT)
    cluster.start_operator()
    await cluster.apply()
    status = await cluster.reaches("Complete")
    assert status["output"] == OUTPUT.to_wire()
    assert await cluster.all(PYTORCHJOBS) == []


async def test_a_missing_secret_is_named_and_the_job_recovers(cluster: Cluster) -> None:
    cluster.prepare_text = None
    cluster.start_operator()
    await cluster.apply(storage={"credentialsSecretName": "s3-keys"})
    pod = await eventually(lambda: cluster.all(PODS), "the preparation's pod")
    waiting = {"reason": "CreateContainerConfigError", "message": 'secret "s3-keys" not found'}
    name = pod[0]["metadata"]["name"]
    await cluster.set_pod(name, {"phase": "Pending"}, PREPARE_CONTAINER, {"waiting": waiting})
    told = await cluster.says("DataReady", "CredentialsMissing")
    assert "s3-keys" in told["message"]
    assert told["status"] == "Unknown"
    await cluster.set_pod(name, {"phase": "Running"}, PREPARE_CONTAINER, {"running": {}})
    await cluster.says("DataReady", "Preparing")


async def test_a_lost_pod_brings_a_new_incarnation_uncounted(cluster: Cluster) -> None:
    cluster.start_operator()
    await cluster.apply(workers={"nodes": 2})
    await cluster.reaches("Running")
    await cluster.delete_pod(await cluster.master())
    status = await cluster.reaches("Running", incarnation=2)
    assert (status["attempt"], status["attempts"][0]["reason"]) == (1, "PodLost")
    await cluster.publish(2)
    await cluster.reaches("Complete")
    assert len(cluster.incarnations) == 2


async def test_a_pytorchjob_deleted_by_hand_comes_back_as_the_next(cluster: Cluster) -> None:
    cluster.start_operator()
    await cluster.apply()
    await cluster.reaches("Running")
    (pod_set,) = await cluster.all(PYTORCHJOBS)
    await cluster.client.delete(PYTORCHJOBS, cluster.namespace, pod_set["metadata"]["name"])
    status = await cluster.reaches("Running", incarnation=2)
    assert status["attempt"] == 1


async def test_counted_failures_are_used_up(cluster: Cluster) -> None:
    cluster.start_operator()
    await cluster.apply(restarts={"max": 1}, training={"sequenceLength": 2048})
    await cluster.reaches("Running")
    text = launch_text(Outcome.OUT_OF_MEMORY, Reason.OUT_OF_MEMORY, message="device 0")
    await cluster.end_pod(await cluster.master(), text, 65)
    status = await cluster.reaches("Running", incarnation=2)
    assert (status["attempt"], status["microBatchTokens"]) == (2, 1024)
    await cluster.end_pod(await cluster.master(2), "Traceback: boom", 1)
    status = await cluster.reaches("Failed")
    failed = next(c for c in status["conditions"] if c["type"] == "Failed")
    assert failed["reason"] == "RestartsExhausted"
    assert "boom" in failed["message"]
    maps = {m["metadata"]["name"]: m for m in await cluster.all(CONFIG_MAPS)}
    second = next(m for name, m in maps.items() if name.endswith("-a2"))
    assert '"microBatchTokens": 1024' in second["data"]["run.json"]


async def test_pods_that_never_start_are_tried_again(cluster: Cluster) -> None:
    cluster.start_pods = False
    cluster.start_operator()
    await cluster.apply(restarts={"startDeadlineSeconds": 5, "max": 0})
    told = await cluster.says("Reconciling", "StartDeadlineExceeded")
    assert "5 s" in told["message"]
    cluster.start_pods = True
    status = await cluster.reaches("Running", incarnation=2)
    assert status["attempts"][0]["outcome"] == "NotStarted"


async def test_a_queue_holds_the_job(cluster: Cluster) -> None:
    cluster.start_pods = False
    cluster.start_operator()
    await cluster.apply()
    (pod_set,) = await eventually(lambda: cluster.all(PYTORCHJOBS), "a PyTorchJob")
    name = pod_set["metadata"]["name"]
    await cluster.change(PYTORCHJOBS, name, {"spec": {"runPolicy": {"suspend": True}}})
    await cluster.says("Reconciling", "WaitingForQuota")
    cluster.start_pods = True
    await cluster.change(PYTORCHJOBS, name, {"spec": {"runPolicy": {"suspend": False}}})
    status = await cluster.reaches("Running")
    assert status["incarnation"] == 1


async def test_suspend_and_resume(cluster: Cluster) -> None:
    cluster.start_operator()
    await cluster.apply()
    await cluster.reaches("Running")
    await cluster.suspend(True)
    await cluster.reaches("Suspended")
    assert await cluster.all(PYTORCHJOBS) == []
    await cluster.suspend(False)
    status = await cluster.reaches("Running", incarnation=2)
    assert (status["attempt"], status["observedGeneration"]) == (1, 3)
    await cluster.publish(2)
    await cluster.reaches("Complete")


async def test_suspended_from_the_start(cluster: Cluster) -> None:
    cluster.start_operator()
    await cluster.apply(suspend=True)
    await cluster.reaches("Suspended")
    assert await cluster.all(BATCH_JOBS) == []
    await cluster.suspend(False)
    await cluster.reaches("Running")


async def test_a_deleted_job_is_not_brought_back(cluster: Cluster) -> None:
    cluster.start_operator()
    await cluster.apply()
    await cluster.reaches("Running")
    await cluster.client.delete(JOBS, cluster.namespace, "support")
    await cluster.change(JOBS, "support", {"metadata": {"finalizers": None}})
    (pod_set,) = await cluster.all(PYTORCHJOBS)
    await cluster.client.delete(PYTORCHJOBS, cluster.namespace, pod_set["metadata"]["name"])

    async def none_left() -> bool:
        return not await cluster.all(PYTORCHJOBS)

    await eventually(none_left, "no PyTorchJob")
    # The name is free again and meets none of its predecessor's children.
    await cluster.apply()
    status = await cluster.reaches("Running")
    assert status["incarnation"] == 1
    assert len(cluster.incarnations) == 2


async def test_the_active_deadline_stops_everything(cluster: Cluster) -> None:
    cluster.start_operator()
    await cluster.apply(activeDeadlineSeconds=3)
    status = await cluster.reaches("Failed")
    assert any(c["reason"] == "DeadlineExceeded" for c in status["conditions"])

    async def none_left() -> bool:
        return not await cluster.all(PYTORCHJOBS)

    await eventually(none_left, "no PyTorchJob")


async def test_the_ttl_removes_the_children(cluster: Cluster) -> None:
    cluster.finish_pods = True
    cluster.start_operator()
    await cluster.apply(ttlSecondsAfterFinished=1)
    await cluster.reaches("Complete")

    async def clean() -> bool:
        maps = [m for m in await cluster.all(CONFIG_MAPS) if m["metadata"]["name"][:4] == "supp"]
        return not (await cluster.all(PYTORCHJOBS) or await cluster.all(BATCH_JOBS) or maps)

    await eventually(clean, "no children")
    assert (await cluster.status())["phase"] == "Complete"


async def test_a_running_job_survives_a_restart_and_is_not_written_when_quiet(
    cluster: Cluster,
) -> None:
    cluster.start_operator()
    await cluster.apply()
    await cluster.reaches("Running")
    cluster.stop_operators()
    before = await cluster.job()
    cluster.start_operator(FINETUNE_RESYNC_SECONDS="1")
    second = await cluster.apply("second")
    assert second["metadata"]["uid"]
    await cluster.reaches("Running", name="second")
    after = await cluster.job()
    assert after["metadata"]["resourceVersion"] == before["metadata"]["resourceVersion"]
