"""Jobs without a training-operator, and with one that does not answer."""

import asyncio
import uuid
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
from finetune_api.exits import Outcome
from finetune_api.reasons import Reason
from finetune_operator.client import connect
from finetune_operator.kinds import BATCH_JOBS, PYTORCHJOBS, Document

from devcluster.apionly import ApiServer, api_server
from tests.apiserver.conftest import CRD, install
from tests.apiserver.play import Cluster, eventually
from tests.apiserver.test_crash import before_and_after, died
from tests.unit.operator.builders import OUTPUT, launch_text

JOB = {"FINETUNE_BACKEND": "Job"}


@asynccontextmanager
async def opened(server: ApiServer) -> AsyncIterator[Cluster]:
    namespace = f"t{uuid.uuid4().hex[:10]}"
    async with (
        connect(str(server.kubeconfig)) as client,
        Cluster.opened(server, client, namespace) as cluster,
    ):
        yield cluster


async def training_jobs(cluster: Cluster) -> list[Document]:
    found = await cluster.all(BATCH_JOBS)
    return [job for job in found if job["metadata"]["labels"]["finetune.dev/role"] == "train"]


async def test_a_job_of_one_pod_keeps_its_backend_when_a_training_operator_appears(
    pytorchjob_crd: Path,
) -> None:
    with api_server() as server:
        await asyncio.to_thread(install, server, CRD)
        async with opened(server) as cluster:
            cluster.start_operator()
            await cluster.apply()
            status = await cluster.reaches("Running")
            assert status["backend"] == "Job"
            (made,) = await training_jobs(cluster)
            assert made["spec"]["backoffLimit"] == 0
            await cluster.apply("wide", workers={"nodes": 2})

            async def told() -> str:
                conditions = (await cluster.status("wide")).get("conditions", [])
                reasons = {c["reason"]: c["message"] for c in conditions}
                return str(reasons.get("BackendUnavailable", ""))

            words = await eventually(told, "two pods need a training-operator")
            assert "training-operator" in words
            assert "workers.nodes: 1" in words
            await asyncio.to_thread(install, server, pytorchjob_crd)
            wide = await cluster.reaches("Running", name="wide")
            assert wide["backend"] == "PyTorchJob"
            await cluster.delete_pod(await cluster.master())
            status = await cluster.reaches("Running", incarnation=2)
            assert status["backend"] == "Job"
            await cluster.publish(2)
            status = await cluster.reaches("Complete")
            assert status["output"] == OUTPUT.to_wire()


async def test_a_platform_may_want_batch_jobs_alone(cluster: Cluster) -> None:
    cluster.start_operator(**JOB)
    await cluster.apply(ttlSecondsAfterFinished=1)
    await cluster.reaches("Running")
    assert await cluster.all(PYTORCHJOBS) == []
    text = launch_text(Outcome.OUT_OF_MEMORY, Reason.OUT_OF_MEMORY, message="device 0")
    await cluster.end_pod(await cluster.master(), text, 65)
    status = await cluster.reaches("Running", incarnation=2)
    assert (status["attempt"], status["countedFailures"]) == (2, 1)
    await cluster.suspend(True)
    await cluster.reaches("Suspended")
    assert await training_jobs(cluster) == []
    await cluster.suspend(False)
    await cluster.reaches("Running", incarnation=3)
    await cluster.publish(3)
    await cluster.reaches("Complete")

    async def clean() -> bool:
        return not await cluster.all(BATCH_JOBS)

    await eventually(clean, "the ttl removes the Jobs")


@pytest.mark.parametrize("what", ["create-job", "status-complete"])
async def test_a_crash_around_a_batch_job_changes_nothing(
    pair: tuple[Cluster, Cluster], what: str
) -> None:
    async def scenario(cluster: Cluster, point: str) -> None:
        cluster.finish_pods = True
        await cluster.apply()
        await died(cluster, point, **JOB)
        status = await cluster.reaches("Complete")
        assert (status["attempt"], status["incarnation"]) == (1, 1)
        assert len(cluster.incarnations) == 1

    await before_and_after(pair, what, scenario)


async def test_a_training_operator_that_does_not_answer_is_named(cluster: Cluster) -> None:
    cluster.training_operator = False
    cluster.start_operator()
    await cluster.apply()
    told = await cluster.says("Reconciling", "BackendUnavailable")
    assert "the Kubeflow training-operator does not answer" in told["message"]
    cluster.training_operator = True
    cluster.start_pods = False
    told = await cluster.says("Reconciling", "PodRejected")
    assert "kubectl describe pytorchjob" in told["message"]
    cluster.start_pods = True
    status = await cluster.reaches("Running")
    assert status["incarnation"] == 1
