"""Jobs of one pod with Kubernetes' own Job controller and garbage collector; pods are played."""

import asyncio
import uuid
from collections.abc import AsyncIterator, Iterator

import pytest
from finetune_api.children import PREPARE_CONTAINER, PYTORCH_CONTAINER, QUEUE_LABEL
from finetune_operator.client import ApiError, connect
from finetune_operator.kinds import BATCH_JOBS, PODS, Document

from devcluster import binaries
from devcluster.apionly import ApiServer, api_server
from devcluster.processes import start_bound
from tests.apiserver.conftest import CRD, install
from tests.apiserver.kueue import Kueue
from tests.apiserver.play import Cluster, eventually
from tests.unit.operator.builders import OUTPUT, PREPARED_TEXT

CONTROLLERS = "job-controller,garbage-collector-controller"


@pytest.fixture(scope="module")
def controlled_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ApiServer]:
    """An API server that knows FineTuneJob, with the two controllers."""
    program = binaries.obtain(["kube-controller-manager"])["kube-controller-manager"]
    log = tmp_path_factory.mktemp("controllers") / "controllers.log"
    with api_server() as server:
        install(server, CRD)
        command = [
            str(program),
            f"--kubeconfig={server.kubeconfig}",
            f"--controllers={CONTROLLERS}",
            "--leader-elect=false",
            "--secure-port=0",
        ]
        process = start_bound(command, log=log)
        yield server
        process.kill()
        process.wait()


@pytest.fixture
async def real(controlled_server: ApiServer) -> AsyncIterator[Cluster]:
    """A namespace in which pods of Jobs are made by the Job controller and run as soon."""
    namespace = f"t{uuid.uuid4().hex[:10]}"
    async with (
        connect(str(controlled_server.kubeconfig)) as client,
        Cluster.opened(controlled_server, client, namespace) as cluster,
    ):
        cluster.job_controller = False
        kubelet = asyncio.create_task(_run_pods(cluster))
        yield cluster
        assert not kubelet.done(), kubelet.exception()
        kubelet.cancel()
        await asyncio.gather(kubelet, return_exceptions=True)


async def _run_pods(cluster: Cluster) -> None:
    while True:
        for pod in await cluster.all(PODS):
            if pod["status"]["phase"] == "Pending" and "deletionTimestamp" not in pod["metadata"]:
                try:
                    await _run_pod(cluster, pod)
                except ApiError as error:
                    if error.code not in {404, 409}:
                        raise
        await asyncio.sleep(0.1)


async def _run_pod(cluster: Cluster, pod: Document) -> None:
    name = pod["metadata"]["name"]
    if pod["spec"]["containers"][0]["name"] == PREPARE_CONTAINER:
        await cluster.end_pod(name, PREPARED_TEXT, 0, "Completed")
    else:
        running = {"running": {"startedAt": pod["metadata"]["creationTimestamp"]}}
        await cluster.set_pod(name, {"phase": "Running"}, PYTORCH_CONTAINER, running)


async def test_a_lost_pod_and_a_suspension_end_sets_of_pods_and_not_the_job(real: Cluster) -> None:
    real.start_operator()
    await real.apply(restarts={"max": 0})
    await real.reaches("Running")
    await real.delete_pod(await real.master())
    status = await real.reaches("Running", incarnation=2)
    assert (status["countedFailures"], status["attempts"][0]["reason"]) == (0, "PodLost")
    await real.suspend(True)
    await real.reaches("Suspended")
    await real.suspend(False)
    await real.reaches("Running", incarnation=3)
    await real.publish(3)
    status = await real.reaches("Complete")
    assert status["output"] == OUTPUT.to_wire()
    assert status["countedFailures"] == 0


async def test_an_eviction_by_a_queue_is_no_failure_of_the_job(real: Cluster) -> None:
    async with Kueue.ruling(real, BATCH_JOBS) as kueue:
        real.start_operator()
        await real.apply_labelled({QUEUE_LABEL: "gpus"}, restarts={"max": 0})
        first = await kueue.only()
        for _ in range(2):
            await kueue.admit()
            await real.reaches("Running")
            await kueue.evict()
            await real.says("Reconciling", "WaitingForQuota")
        await kueue.admit()
        await real.reaches("Running")
        await real.publish()
        status = await real.reaches("Complete")
        assert (status["incarnation"], status["countedFailures"]) == (1, 0)

        async def succeeded() -> Document | None:
            job = await kueue.only()
            return job if job["status"].get("succeeded") else None

        job = await eventually(succeeded, "the Job controller counts the pod as well")
        assert job["metadata"]["uid"] == first["metadata"]["uid"]
        assert job["metadata"]["generation"] == 1 + kueue.writes, "another wrote its spec"
        assert "failed" not in job["status"]
