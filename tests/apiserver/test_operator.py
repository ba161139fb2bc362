"""The operator as a process: backend missing, progress, leadership, probes."""

import asyncio
import uuid
from pathlib import Path

import aiohttp
from aiohttp import web
from finetune_api.children import ChildSettings
from finetune_api.progress import PROGRESS_PATH, PROGRESS_PORT
from finetune_operator.client import ApiError, connect
from finetune_operator.crash import CrashPoints
from finetune_operator.kinds import JOBS, LEASES, PYTORCHJOBS
from finetune_operator.leader import LEASE_NAME
from finetune_operator.metrics import Metrics
from finetune_operator.observe import Situation
from finetune_operator.reconcile import Reconciler
from finetune_operator.seen import Backends
from finetune_operator.store import Store

from devcluster.apionly import ApiServer
from tests.apiserver.conftest import install
from tests.apiserver.play import Cluster, eventually


async def test_a_training_operator_installed_later_needs_no_restart(
    bare_server: ApiServer, pytorchjob_crd: Path
) -> None:
    namespace = f"t{uuid.uuid4().hex[:10]}"
    async with (
        connect(str(bare_server.kubeconfig)) as client,
        Cluster.opened(bare_server, client, namespace) as cluster,
    ):
        cluster.start_operator()
        await cluster.apply(workers={"nodes": 2})
        told = await cluster.says("Reconciling", "BackendUnavailable")
        assert "training-operator" in told["message"]
        assert (await cluster.status())["phase"] == "Queued"
        await asyncio.to_thread(install, bare_server, pytorchjob_crd)
        await cluster.reaches("Running")
        await cluster.publish()
        await cluster.reaches("Complete")


async def test_progress_is_pulled_from_rank_zero(cluster: Cluster) -> None:
    answers = [{"stage": "Training", "step": 5, "totalSteps": 10, "percent": 50, "loss": "1.25"}]

    async def progress(_: web.Request) -> web.Response:
        return web.json_response(answers[0])

    application = web.Application()
    application.router.add_get(PROGRESS_PATH, progress)
    runner = web.AppRunner(application)
    await runner.setup()
    try:
        await web.TCPSite(runner, "127.0.0.1", PROGRESS_PORT).start()
        cluster.start_operator()
        await cluster.apply()

        async def shown() -> bool:
            found = (await cluster.status()).get("progress")
            return bool(found == answers[0])

        await eventually(shown, "progress in the status")
    finally:
        await runner.cleanup()


async def test_only_the_leader_works_and_another_takes_over(cluster: Cluster) -> None:
    first = cluster.start_operator(FINETUNE_LEADER_ELECTION="true", POD_NAME="first")

    async def holder() -> str:
        try:
            lease = await cluster.client.get(LEASES, cluster.namespace, LEASE_NAME)
        except ApiError:
            return ""
        return str(lease["spec"].get("holderIdentity", ""))

    async def first_leads() -> bool:
        return await holder() == "first"

    async def second_leads() -> bool:
        return await holder() == "second"

    await eventually(first_leads, "the first process leads")
    cluster.start_operator(FINETUNE_LEADER_ELECTION="true", POD_NAME="second")
    await cluster.apply()
    await cluster.reaches("Running")
    assert await holder() == "first"
    first.terminate()
    assert await asyncio.to_thread(first.wait, 15) == 0
    await eventually(second_leads, "the second process leads")
    await cluster.publish()
    await cluster.reaches("Complete")


async def test_probes_and_metrics_tell_how_the_operator_is(cluster: Cluster) -> None:
    cluster.start_operator()
    await cluster.apply()
    await cluster.reaches("Running")
    base = f"http://127.0.0.1:{cluster.health_port}"
    async with aiohttp.ClientSession() as session:
        for path in ("/healthz", "/readyz"):
            async with session.get(base + path) as response:
                assert (response.status, await response.text()) == (200, "ok")
        async with session.get(base + "/metrics") as response:
            text = await response.text()
    assert 'finetune_jobs{phase="Running"} 1.0' in text
    assert "finetune_leader 1.0" in text


async def test_a_deletion_that_no_watch_told_of_holds_nothing_up(cluster: Cluster) -> None:
    process = cluster.start_operator(FINETUNE_CRASH_AT="before-delete-pytorchjob")
    await cluster.apply()
    await cluster.reaches("Running")
    await cluster.end_pod(await cluster.master(), "Traceback: boom", 1)
    await asyncio.to_thread(process.wait, 30)
    (pods,) = await cluster.all(PYTORCHJOBS)
    name = pods["metadata"]["name"]
    stale = await cluster.client.delete(PYTORCHJOBS, cluster.namespace, name)
    assert stale is not None

    async def gone() -> bool:
        return not await cluster.all(PYTORCHJOBS)

    await eventually(gone, "the PyTorchJob is gone")
    store = Store()
    store.put(JOBS, await cluster.job())
    store.put(PYTORCHJOBS, stale)
    reconciler = Reconciler(
        cluster.client,
        store,
        Situation(Backends(served=frozenset({"PyTorchJob"}))),
        Metrics(),
        settings=ChildSettings("trainer:test", "IfNotPresent"),
        crash=CrashPoints(),
        retry_seconds=0.5,
    )
    wait = await reconciler.reconcile((cluster.namespace, "support"))
    assert wait is not None
    await asyncio.sleep(wait)
    await reconciler.reconcile((cluster.namespace, "support"))
    assert (await cluster.status())["incarnation"] == 2


async def test_an_object_of_the_same_name_is_never_taken_for_ours(cluster: Cluster) -> None:
    cluster.start_operator()
    made = await cluster.apply(suspend=True)
    await cluster.reaches("Suspended")
    name = f"support-{made['metadata']['uid'][:8]}-1"
    foreign = {
        "apiVersion": "kubeflow.org/v1",
        "kind": "PyTorchJob",
        "metadata": {"name": name, "namespace": cluster.namespace},
        "spec": {"pytorchReplicaSpecs": {}},
    }
    cluster.start_pods = False
    await cluster.client.create(PYTORCHJOBS, cluster.namespace, foreign)
    await cluster.suspend(False)
    told = await cluster.says("Reconciling", "PodRejected")
    assert "belongs to another" in told["message"]
