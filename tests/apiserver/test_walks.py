"""Whatever a job went through, it ends as one that was applied afresh.

Each walk takes one name through ten generated specs, changing or replacing the object while its
pods are at work, with wrong specs in between, which are refused and disturb nothing.
"""

import asyncio
import json
from collections.abc import Iterator
from random import Random
from typing import Any

import pytest
from finetune_api.job import LABEL_JOB_UID
from finetune_api.spec import MUTABLE_FIELDS, FineTuneJobSpec
from finetune_operator.client import ApiError
from finetune_operator.kinds import BATCH_JOBS, CONFIG_MAPS, JOBS, PYTORCHJOBS, Document

from tests.apiserver.play import Cluster, eventually, job_document
from tests.unit.api.spec_generator import problems_of, valid_spec, wrong_spec

WALKS = 20
STEPS = 10
LONGEST_PAUSE = 0.6
"""Seconds between two steps: shorter and longer than the operator and the pods take."""
MUTABLE = {str(FineTuneJobSpec.model_fields[name].alias) for name in MUTABLE_FIELDS}
TIMES = ("startTime", "completionTime", "retryAt", "lastTransitionTime")
OF_THE_WAY = ("attempts", "incarnation", "pods", "progress", "observedGeneration", *TIMES)
"""What status says of how a job came to its end."""
LEFT_OUT = (
    *("activeDeadlineSeconds", "ttlSecondsAfterFinished", "restarts", "suspend"),
    "priorityClassName",
)
"""Fields that end a job by the clock, or name an object that is not there."""
OF_THE_CHILD = (
    *("selector", "controller-uid", "batch.kubernetes.io/controller-uid"),
    "finetune.dev/incarnation",
)
"""What a child has of its own."""
Pair = tuple[Cluster, Cluster]


def next_spec(random: Random) -> Document:
    """A valid spec that a played cluster brings to its end soon."""
    while True:
        spec = valid_spec(random)
        for field in LEFT_OUT:
            spec.pop(field, None)
        for field in ("runtimeClassName", "serviceAccountName"):
            spec.get("podTemplate", {}).pop(field, None)
        workers = spec.get("workers", {})
        workers["nodes"] = min(workers.get("nodes", 1), 3)
        named = [spec.get(block, {}).get("fromJob") for block in ("model", "rewardModel")]
        if not any(named) and not problems_of(spec | {"workers": workers}):
            return spec | {"workers": workers}


class Walk:
    """One name, and what is done to it."""

    def __init__(self, cluster: Cluster, random: Random) -> None:
        self.cluster = cluster
        self.random = random
        self.spec: Document = {}

    async def begin(self, spec: Document) -> None:
        self.spec = spec
        await self.cluster.apply(**spec)

    async def replace(self, spec: Document) -> None:
        """Delete the object and apply another one under its name."""
        client, namespace = self.cluster.client, self.cluster.namespace
        await client.delete(JOBS, namespace, "support", propagation="Background")
        await self.begin(spec)

    async def edit(self) -> None:
        """Pause and go on, or change what may change."""
        if self.random.random() < 0.5:
            await self.cluster.suspend(True)
            await self.pause()
            await self.cluster.suspend(False)
        else:
            seconds = self.random.randint(1000, 2000)
            await self.cluster.change(
                JOBS, "support", {"spec": {"ttlSecondsAfterFinished": seconds}}
            )
            self.spec = {**self.spec, "ttlSecondsAfterFinished": seconds}

    async def mistake(self) -> None:
        """Something wrong is refused, and what is there stays."""
        before = await self.cluster.job()
        if self.random.random() < 0.5:
            wrong = wrong_spec(self.random).spec
            await self.refused(lambda: self.put(before, wrong))
        else:
            other = {**self.spec, "output": {"uri": "s3://another/place"}}
            told = await self.refused(lambda: self.put(before, other))
            assert "output cannot change after creation" in told
        after = await self.cluster.job()
        for part in ("spec", "uid", "generation"):
            one, other = (part_of(job, part) for job in (before, after))
            assert one == other

    async def put(self, before: Document, spec: Document) -> Any:
        """Replace the object's spec, as `kubectl replace` does."""
        path = JOBS.path(self.cluster.namespace, "support")
        metadata = {"name": "support", "namespace": self.cluster.namespace}
        document = {**job_document("support", self.cluster.namespace), "spec": spec}
        document["metadata"] = {**metadata, "uid": before["metadata"]["uid"]}
        current = await self.cluster.job()
        document["metadata"]["resourceVersion"] = current["metadata"]["resourceVersion"]
        strictly = {"fieldValidation": "Strict"}
        return await self.cluster.client._request("PUT", path, query=strictly, body=document)

    async def refused(self, attempt: Any) -> str:
        """What the API server says; a status that was written meanwhile is tried again."""
        for _ in range(20):
            try:
                await attempt()
            except ApiError as error:
                if error.reason != "Conflict":
                    return error.message
            else:
                break
        raise AssertionError("the API server took what is wrong")

    async def pause(self) -> None:
        await asyncio.sleep(self.random.random() * LONGEST_PAUSE)


def part_of(job: Document, name: str) -> Any:
    return job[name] if name == "spec" else job["metadata"][name]


async def end_of(cluster: Cluster) -> Document:
    """The job and its children once it has ended, without what depends on names and times."""

    async def over() -> bool:
        return (await cluster.status()).get("phase") in {"Complete", "Failed"}

    await eventually(over, "an end")
    job = await cluster.job()
    uid = job["metadata"]["uid"]
    text = json.dumps(
        {
            "spec": job["spec"],
            "status": without(job["status"], OF_THE_WAY),
            "children": {
                kind.plural: [made_by(child, uid) for child in await children(cluster, kind, uid)]
                for kind in (CONFIG_MAPS, BATCH_JOBS, PYTORCHJOBS)
            },
        }
    )
    for name in (uid, uid[:8], cluster.namespace):
        text = text.replace(name, "ITS")
    found: Document = json.loads(text)
    return found


async def children(cluster: Cluster, kind: Any, uid: str) -> list[Document]:
    """Those of a kind that are left, of PyTorchJobs the newest."""
    listed, _ = await cluster.client.list_all(kind, cluster.namespace, f"{LABEL_JOB_UID}={uid}")
    made = sorted(listed, key=lambda child: int(child["metadata"]["resourceVersion"]))
    return made[-1:] if kind == PYTORCHJOBS else made


def made_by(child: Document, uid: str) -> Document:
    """What the operator wrote into a child, without its incarnation."""
    wanted = {"spec": child.get("spec"), "run": run_of(child)}
    text = json.dumps(wanted).replace(uid, "ITS")
    labels = {k: v for k, v in child["metadata"]["labels"].items() if "incarnation" not in k}
    made: Document = json.loads(text)
    return {"labels": labels, **without(made, OF_THE_CHILD)}


def run_of(child: Document) -> Document | None:
    """The run file in a ConfigMap, without what may have changed since it was written."""
    if "data" not in child:
        return None
    run: Document = json.loads(child["data"]["run.json"])
    spec = {name: value for name, value in run["spec"].items() if name not in MUTABLE}
    return {**run, "spec": spec}


def without(value: Any, names: tuple[str, ...]) -> Any:
    """`value` without the fields of these names, wherever they stand."""
    if isinstance(value, dict):
        return {k: without(v, names) for k, v in value.items() if k not in names}
    return [without(item, names) for item in value] if isinstance(value, list) else value


def differences(one: Any, other: Any, path: str = "") -> Iterator[str]:
    """Paths at which two documents differ, with both values."""
    if isinstance(one, dict) and isinstance(other, dict):
        for name in sorted({*one, *other}):
            yield from differences(one.get(name), other.get(name), f"{path}.{name}")
    elif isinstance(one, list) and isinstance(other, list) and len(one) == len(other):
        for place, (left, right) in enumerate(zip(one, other, strict=True)):
            yield from differences(left, right, f"{path}[{place}]")
    elif one != other:
        yield f"{path}: {one} != {other}"


@pytest.mark.long
@pytest.mark.timeout(600)
@pytest.mark.parametrize("seed", range(WALKS))
async def test_a_job_ends_as_one_that_was_applied_afresh(pair: Pair, seed: int) -> None:
    walked, fresh = pair
    random = Random(seed)
    walked.finish_pods = fresh.finish_pods = True
    for cluster in pair:
        cluster.start_operator()
    walk = Walk(walked, random)
    await walk.begin(next_spec(random))
    for _ in range(STEPS - 1):
        await walk.pause()
        await walk.mistake()
        if random.random() < 0.7:
            await walk.replace(next_spec(random))
        else:
            await walk.edit()
    await fresh.apply(**walk.spec)
    one, other = await end_of(walked), await end_of(fresh)
    if not one["children"][BATCH_JOBS.plural]:
        # A suspension took the preparation's Job when its result was known already.
        for end in (one, other):
            del end["children"][BATCH_JOBS.plural]
    assert list(differences(one, other)) == []
    assert walked.most_live <= 1
