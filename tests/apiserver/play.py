"""Plays the rest of a cluster: Job controller, training-operator, kubelet, garbage collector.

Only the API server is real. Every object that is deleted in the foreground loses its pods, then
its finalizer, as the garbage collector would have it; one that is suspended loses its pods.
"""

import asyncio
import os
import subprocess
import sys
import tempfile
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from finetune_api.children import PREPARE_CONTAINER, PYTORCH_CONTAINER, ROLE_TRAIN
from finetune_api.job import LABEL_INCARNATION, LABEL_JOB, LABEL_JOB_UID, LABEL_ROLE
from finetune_operator.client import ApiError, Client
from finetune_operator.events import now_utc
from finetune_operator.kinds import BATCH_JOBS, JOBS, PODS, PYTORCHJOBS, Document, Kind
from finetune_operator.times import format_time

from devcluster.apionly import ApiServer
from devcluster.ports import free_ports
from tests.unit.operator.builders import PREPARED_TEXT, PUBLISHED_TEXT

ROOT = Path(__file__).parents[2]
NAMESPACES = Kind("", "v1", "namespaces")
POLL_SECONDS = 0.1
TIMEOUT_SECONDS = 40.0


def job_document(name: str, namespace: str, **spec: Any) -> Document:
    """A small FineTuneJob."""
    return {
        "apiVersion": "finetune.dev/v1alpha1",
        "kind": "FineTuneJob",
        "metadata": {"name": name, "namespace": namespace},
        "spec": {
            "method": "SFT",
            "model": {"uri": "s3://models/tiny"},
            "data": {"train": [{"uri": "s3://data/rows.jsonl"}]},
            "output": {"uri": "s3://artifacts/team"},
            **spec,
        },
    }


async def eventually(probe: Callable[[], Awaitable[Any]], what: str) -> Any:
    """The first true answer of `probe`."""
    try:
        async with asyncio.timeout(TIMEOUT_SECONDS):
            while True:
                answer = await probe()
                if answer:
                    return answer
                await asyncio.sleep(POLL_SECONDS)
    except TimeoutError:
        raise AssertionError(f"not within {TIMEOUT_SECONDS} s: {what}") from None


class Cluster:
    """One namespace and what lives in it."""

    def __init__(self, server: ApiServer, client: Client, namespace: str) -> None:
        self.server = server
        self.client = client
        self.namespace = namespace
        self.prepare_text: str | None = PREPARED_TEXT
        """What preparation pods end with; None leaves them alone."""
        self.start_pods = True
        """Whether training pods are made and run."""
        self.training_operator = True
        """Whether somebody takes PyTorchJobs up."""
        self.job_controller = True
        """Whether Jobs are played; not where the real Job controller runs."""
        self.schedule_pods = True
        """Whether the scheduler finds nodes for those that are made."""
        self.pod_ip = "127.0.0.1"
        """Address of the pods that are made."""
        self.finish_pods = False
        """Whether rank 0 publishes as soon as it runs."""
        self.most_live = 0
        """Most sets of training pods of one job that were live at once."""
        self.incarnations: set[str] = set()
        self.health_port = 0
        self._operators: list[subprocess.Popen[bytes]] = []

    @classmethod
    @asynccontextmanager
    async def opened(
        cls, server: ApiServer, client: Client, namespace: str
    ) -> AsyncIterator["Cluster"]:
        """The namespace with its player running."""
        cluster = cls(server, client, namespace)
        document = {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": namespace}}
        await client._write("POST", NAMESPACES.path(), document)
        player = asyncio.create_task(cluster._play())
        try:
            yield cluster
            assert not player.done(), player.exception()
            assert cluster.most_live <= 1, "two live sets of pods of one job"
        finally:
            player.cancel()
            # Or its request outlives the client, whose connection is then never closed.
            await asyncio.gather(player, return_exceptions=True)
            for process in cluster._operators:
                process.kill()
                process.wait()

    def start_operator(self, **env: str) -> subprocess.Popen[bytes]:
        """Run the operator for this namespace as a process."""
        (port,) = free_ports(1)
        log = Path(tempfile.gettempdir(), f"operator-{self.namespace}.log")
        environment = {
            **{k: v for k, v in os.environ.items() if not k.startswith("FINETUNE_")},
            "KUBECONFIG": str(self.server.kubeconfig),
            "PYTHONPATH": f"{ROOT / 'api'}:{ROOT / 'operator'}",
            "FINETUNE_TRAINER_IMAGE": "trainer:test",
            "FINETUNE_NAMESPACES": self.namespace,
            "FINETUNE_HEALTH_PORT": str(port),
            "FINETUNE_LEADER_ELECTION": "false",
            "FINETUNE_RETRY_SECONDS": "0.5",
            "FINETUNE_DISCOVERY_SECONDS": "1",
            "POD_NAMESPACE": self.namespace,
            **env,
        }
        with log.open("ab") as output:
            process = subprocess.Popen(
                [sys.executable, "-m", "finetune_operator"],
                env=environment,
                stdout=output,
                stderr=output,
                cwd=ROOT,
            )
        self._operators.append(process)
        self.health_port = port
        return process

    def stop_operators(self) -> None:
        """Kill them at once."""
        for process in self._operators:
            process.kill()
            process.wait()
        self._operators.clear()

    async def apply(self, name: str = "support", **spec: Any) -> Document:
        """Create a job."""
        document = job_document(name, self.namespace, **spec)
        return await self.client.create(JOBS, self.namespace, document)

    async def apply_labelled(self, labels: dict[str, str], **spec: Any) -> Document:
        """Create a job with labels."""
        document = job_document("support", self.namespace, **spec)
        document["metadata"]["labels"] = labels
        return await self.client.create(JOBS, self.namespace, document)

    async def change(self, kind: Kind, name: str, patch: Document, sub: str = "") -> Document:
        """Merge a patch."""
        path = kind.path(self.namespace, name) + sub
        return await self.client._write("PATCH", path, patch, "application/merge-patch+json")

    async def delete_pod(self, name: str) -> None:
        """The pod is gone at once."""
        await self.client._write(
            "DELETE", PODS.path(self.namespace, name), {"gracePeriodSeconds": 0}
        )

    async def suspend(self, value: bool) -> None:
        """Set spec.suspend."""
        await self.change(JOBS, "support", {"spec": {"suspend": value}})

    async def all(self, kind: Kind) -> list[Document]:
        """All objects of the namespace."""
        return (await self.client.list_all(kind, self.namespace))[0]

    async def job(self, name: str = "support") -> Document:
        """The job."""
        return await self.client.get(JOBS, self.namespace, name)

    async def status(self, name: str = "support") -> Document:
        """Its status."""
        found: Document = (await self.job(name)).get("status", {})
        return found

    async def reaches(self, phase: str, incarnation: int = 0, name: str = "support") -> Document:
        """The status once the job is in `phase` with at least this incarnation."""

        async def there() -> Document | None:
            status = await self.status(name)
            far = status.get("incarnation", 0) >= incarnation
            return status if status.get("phase") == phase and far else None

        try:
            found: Document = await eventually(there, f"phase {phase}, incarnation {incarnation}")
        except AssertionError as error:
            raise AssertionError(f"{error}; status: {await self.status(name)}") from None
        return found

    async def says(self, kind: str, reason: str, name: str = "support") -> Document:
        """The condition once it has `reason`."""

        async def there() -> Document | None:
            conditions = (await self.status(name)).get("conditions", [])
            return next((c for c in conditions if (c["type"], c["reason"]) == (kind, reason)), None)

        try:
            found: Document = await eventually(there, f"condition {kind} with reason {reason}")
        except AssertionError as error:
            raise AssertionError(f"{error}; status: {await self.status(name)}") from None
        return found

    async def end_pod(self, name: str, text: str, code: int, reason: str = "Error") -> None:
        """The pod's container ends."""
        pod = await self.client.get(PODS, self.namespace, name)
        container = pod["spec"]["containers"][0]["name"]
        ended = {
            "exitCode": code,
            "reason": reason,
            "message": text,
            "startedAt": pod["metadata"]["creationTimestamp"],
            "finishedAt": pod["metadata"]["creationTimestamp"],
        }
        phase = "Failed" if code else "Succeeded"
        await self.set_pod(name, {"phase": phase}, container, {"terminated": ended})

    async def set_pod(self, name: str, status: Document, container: str, state: Document) -> None:
        """Write a pod's status."""
        statuses = [
            {
                "name": container,
                "state": state,
                "image": "trainer:test",
                "imageID": "",
                "ready": "running" in state,
                "restartCount": 0,
            }
        ]
        body = {"status": {**status, "containerStatuses": statuses}}
        await self.change(PODS, name, body, "/status")

    async def master(self, incarnation: int = 1, job: str = "support") -> str:
        """Name of rank 0's pod once it is there."""

        async def there() -> str | None:
            for pod in await self.all(PODS):
                labels = pod["metadata"]["labels"]
                its = (labels[LABEL_JOB], labels.get(LABEL_INCARNATION))
                if its == (job, str(incarnation)) and _is_rank_zero(pod):
                    return str(pod["metadata"]["name"])
            return None

        found: str = await eventually(there, f"a master pod of {job}, incarnation {incarnation}")
        return found

    async def publish(self, incarnation: int = 1, job: str = "support") -> None:
        """Rank 0 publishes."""
        await self.end_pod(await self.master(incarnation, job), PUBLISHED_TEXT, 0, "Completed")

    async def _play(self) -> None:
        while True:
            try:
                await self._turn()
            except ApiError as error:
                if error.code not in {404, 409}:
                    raise
            await asyncio.sleep(POLL_SECONDS)

    async def _turn(self) -> None:
        pods = await self.all(PODS)
        batch_jobs = await self.all(BATCH_JOBS)
        pytorch_jobs = await self._pytorch_jobs()
        sets = [*pytorch_jobs, *(job for job in batch_jobs if _trains(job))]
        live = Counter(
            s["metadata"].get("labels", {}).get(LABEL_JOB_UID)
            for s in sets
            if "deletionTimestamp" not in s["metadata"] and not _over(s)
        )
        self.most_live = max(self.most_live, *live.values(), 0)
        self.incarnations |= {s["metadata"]["name"] for s in sets}
        for job in batch_jobs if self.job_controller else ():
            await self._play_owner(BATCH_JOBS, job, pods)
        for job in pytorch_jobs if self.training_operator else ():
            await self._play_owner(PYTORCHJOBS, job, pods)

    async def _pytorch_jobs(self) -> list[Document]:
        try:
            return await self.all(PYTORCHJOBS)
        except ApiError as error:
            if error.not_found:
                return []
            raise

    async def _play_owner(self, kind: Kind, owner: Document, pods: list[Document]) -> None:
        uid, name = owner["metadata"]["uid"], owner["metadata"]["name"]
        mine = [p for p in pods if p["metadata"]["ownerReferences"][0]["uid"] == uid]
        if "deletionTimestamp" in owner["metadata"]:
            for pod in mine:
                await self.delete_pod(pod["metadata"]["name"])
            if not mine:
                await self.change(kind, name, {"metadata": {"finalizers": None}})
            return
        suspended = is_suspended(owner)
        await self._take_up(kind, owner, suspended=suspended)
        if suspended:
            for pod in mine:
                await self.delete_pod(pod["metadata"]["name"])
        elif kind == BATCH_JOBS and not _trains(owner):
            if not mine:
                await self._run_prepare(owner)
        elif self.start_pods and not mine and not _over(owner):
            await self._run_pods(kind, owner)
        elif self.finish_pods:
            await self._finish(mine)

    async def _take_up(self, kind: Kind, owner: Document, *, suspended: bool) -> None:
        """The controller's part of a status: that it saw the object, and since when it runs."""
        name, status = owner["metadata"]["name"], owner.get("status", {})
        if kind == PYTORCHJOBS:
            if not status.get("conditions"):
                created = [{"type": "Created", "status": "True", "reason": "PyTorchJobCreated"}]
                await self.change(kind, name, {"status": {"conditions": created}}, "/status")
        elif suspended == ("startTime" in status):
            now = None if suspended else format_time(now_utc())
            await self.change(kind, name, {"status": {"startTime": now}}, "/status")

    async def _run_prepare(self, job: Document) -> None:
        name = job["metadata"]["name"] + "-x"
        await self._make_pod(job, "batch/v1", "Job", name, job["spec"]["template"])
        if self.prepare_text is not None:
            code = 0 if '"outcome":"Done"' in self.prepare_text else 64
            await self.end_pod(name, self.prepare_text, code)

    async def _run_pods(self, kind: Kind, owner: Document) -> None:
        name = owner["metadata"]["name"]
        if kind == BATCH_JOBS:
            template = owner["spec"]["template"]
            await self._run_pod(owner, "batch/v1", "Job", f"{name}-x7k2p", template)
            return
        for role, replica in owner["spec"]["pytorchReplicaSpecs"].items():
            for index in range(replica["replicas"]):
                pod = f"{name}-{role.lower()}-{index}"
                await self._run_pod(
                    owner, "kubeflow.org/v1", "PyTorchJob", pod, replica["template"]
                )

    async def _run_pod(
        self, owner: Document, version: str, kind: str, name: str, template: Document
    ) -> None:
        await self._make_pod(owner, version, kind, name, template)
        if not self.schedule_pods:
            return
        status = {"phase": "Running", "podIP": self.pod_ip}
        running = {"running": {"startedAt": owner["metadata"]["creationTimestamp"]}}
        await self.set_pod(name, status, PYTORCH_CONTAINER, running)

    async def _finish(self, pods: list[Document]) -> None:
        status = await self.status()
        if status.get("phase") != "Running":
            return
        for pod in pods:
            name = pod["metadata"]["name"]
            if _is_rank_zero(pod) and pod["status"]["phase"] == "Running":
                await self.end_pod(name, PUBLISHED_TEXT, 0, "Completed")

    async def _make_pod(
        self, owner: Document, version: str, kind: str, name: str, template: Document
    ) -> None:
        metadata = {
            **template["metadata"],
            "name": name,
            "ownerReferences": [
                {
                    "apiVersion": version,
                    "kind": kind,
                    "name": owner["metadata"]["name"],
                    "uid": owner["metadata"]["uid"],
                    "controller": True,
                    "blockOwnerDeletion": True,
                }
            ],
        }
        document = {"apiVersion": "v1", "kind": "Pod", "metadata": metadata}
        document["spec"] = {**template["spec"], "restartPolicy": "Never"}
        await self.client.create(PODS, self.namespace, document)


def is_suspended(owner: Document) -> bool:
    """Whether a PyTorchJob or Job is to have no pods."""
    spec = owner["spec"]
    return bool(spec.get("suspend") or spec.get("runPolicy", {}).get("suspend"))


def _trains(owner: Document) -> bool:
    return bool(owner["metadata"].get("labels", {}).get(LABEL_ROLE) == ROLE_TRAIN)


def _is_rank_zero(pod: Document) -> bool:
    """A PyTorchJob's master, or the only pod of a Job."""
    metadata = pod["metadata"]
    only = metadata["ownerReferences"][0]["kind"] == "Job"
    return _trains(pod) and (only or metadata["name"].endswith("-master-0"))


def _over(pod_set: Document) -> bool:
    conditions = pod_set.get("status", {}).get("conditions") or []
    return any(c["type"] in {"Succeeded", "Failed"} and c["status"] == "True" for c in conditions)


__all__ = ["PREPARE_CONTAINER", "Cluster", "eventually", "job_document"]
