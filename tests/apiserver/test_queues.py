"""Kueue's part of a job's life, played; see `kueue.py`."""

import asyncio

import pytest
from finetune_api.children import PREPARE_QUEUE_LABEL, QUEUE_LABEL
from finetune_operator.kinds import BATCH_JOBS, JOBS, PODS, PYTORCHJOBS, Kind

from tests.apiserver.kueue import FLAVOUR, Kueue, selector_of
from tests.apiserver.play import Cluster, eventually, is_suspended
from tests.unit.operator.builders import PREPARED_TEXT

QUEUED = {QUEUE_LABEL: "gpus"}
BACKENDS = pytest.mark.parametrize(
    ("backend", "kind"), [("PyTorchJob", PYTORCHJOBS), ("Job", BATCH_JOBS)]
)


async def no_pod(cluster: Cluster) -> None:
    async def none() -> bool:
        return not [p for p in await cluster.all(PODS) if "prepare" not in p["metadata"]["name"]]

    await eventually(none, "no training pod")


@BACKENDS
async def test_quota_comes_and_goes_and_one_object_stays(
    cluster: Cluster, backend: str, kind: Kind
) -> None:
    async with Kueue.ruling(cluster, kind) as kueue:
        cluster.start_operator(FINETUNE_BACKEND=backend)
        await cluster.apply_labelled(QUEUED, restarts={"startDeadlineSeconds": 5, "max": 0})
        await cluster.says("Reconciling", "WaitingForQuota")
        first = await kueue.only()
        await asyncio.sleep(7)
        status = await cluster.status()
        assert (status["phase"], status.get("attempts")) == ("Queued", None)
        await kueue.admit()
        await cluster.reaches("Running")
        assert selector_of(await kueue.only()) == FLAVOUR
        await kueue.evict()
        await cluster.says("Reconciling", "WaitingForQuota")
        await no_pod(cluster)
        await kueue.admit()
        status = await cluster.reaches("Running")
        assert (status["attempt"], status["incarnation"]) == (1, 1)
        assert (status["countedFailures"], status.get("attempts")) == (0, None)
        await cluster.publish()
        await cluster.reaches("Complete")
        last = await kueue.only()
        assert last["metadata"]["uid"] == first["metadata"]["uid"]
        assert selector_of(last) == FLAVOUR
        assert last["metadata"]["generation"] == 1 + kueue.writes, "another wrote its spec"


@BACKENDS
async def test_a_job_that_does_not_start_after_its_admission_is_tried_again(
    cluster: Cluster, backend: str, kind: Kind
) -> None:
    cluster.start_pods = False
    async with Kueue.ruling(cluster, kind) as kueue:
        cluster.start_operator(FINETUNE_BACKEND=backend)
        await cluster.apply_labelled(QUEUED, restarts={"startDeadlineSeconds": 5, "max": 0})
        first = await kueue.only()
        await kueue.admit()
        await cluster.says("Reconciling", "StartDeadlineExceeded")

        async def another() -> bool:
            found = await cluster.all(kind)
            queued = [each for each in found if QUEUE_LABEL in each["metadata"]["labels"]]
            return [first["metadata"]["uid"]] != [each["metadata"]["uid"] for each in queued] != []

        await eventually(another, "the next set of pods")
        assert is_suspended(await kueue.only())


@BACKENDS
async def test_another_queue_is_that_of_the_next_set_of_pods(
    cluster: Cluster, backend: str, kind: Kind
) -> None:
    async with Kueue.ruling(cluster, kind) as kueue:
        cluster.start_operator(FINETUNE_BACKEND=backend)
        await cluster.apply_labelled(QUEUED)
        await kueue.only()
        await kueue.admit()
        await cluster.reaches("Running")
        await eventually(kueue.refuses_another_queue, "the queue of a running object is fixed")
        before = await kueue.only()
        await cluster.change(JOBS, "support", {"metadata": {"labels": {QUEUE_LABEL: "others"}}})
        await asyncio.sleep(1)
        assert (await kueue.only())["metadata"]["generation"] == before["metadata"]["generation"]
        assert (await cluster.status())["phase"] == "Running"
        await cluster.delete_pod(await cluster.master())
        await cluster.reaches("Queued", incarnation=2)
        after = await kueue.only()
        assert after["metadata"]["labels"][QUEUE_LABEL] == "others"
        await kueue.admit()
        await cluster.reaches("Running", incarnation=2)


async def test_a_job_that_a_queue_holds_can_be_suspended_and_resumed(cluster: Cluster) -> None:
    async with Kueue.ruling(cluster, PYTORCHJOBS) as kueue:
        cluster.start_operator()
        await cluster.apply_labelled(QUEUED)
        await cluster.says("Reconciling", "WaitingForQuota")
        await cluster.suspend(True)
        await cluster.reaches("Suspended")
        assert await cluster.all(PYTORCHJOBS) == []
        await cluster.suspend(False)
        await cluster.says("Reconciling", "WaitingForQuota")
        await kueue.admit()
        await cluster.reaches("Running", incarnation=2)


async def test_the_preparation_waits_in_a_queue_of_its_own(cluster: Cluster) -> None:
    cluster.prepare_text = None
    async with Kueue.ruling(cluster, BATCH_JOBS) as kueue:
        cluster.start_operator()
        await cluster.apply_labelled({PREPARE_QUEUE_LABEL: "cpus"})
        await cluster.says("DataReady", "WaitingForQuota")
        first = await kueue.only()
        assert first["metadata"]["labels"][QUEUE_LABEL] == "cpus"
        for _ in range(2):
            await kueue.admit()
            await cluster.says("DataReady", "Preparing")
            await eventually(lambda: cluster.all(PODS), "the preparation's pod")
            await kueue.evict()
            await cluster.says("DataReady", "WaitingForQuota")
        cluster.prepare_text = PREPARED_TEXT
        await kueue.admit()
        status = await cluster.reaches("Running")
        assert status["countedFailures"] == 0
        last = await kueue.only()
        assert last["metadata"]["uid"] == first["metadata"]["uid"]
        assert last["metadata"]["generation"] == 1 + kueue.writes, "another wrote its spec"
        (training,) = await cluster.all(PYTORCHJOBS)
        assert QUEUE_LABEL not in training["metadata"]["labels"]
