"""Jobs that start from other jobs, against a real API server, with the operator as a process."""

import json
from typing import Any

import pytest
from finetune_api.children import prepare_name
from finetune_api.runfile import JobIdentity
from finetune_operator.kinds import BATCH_JOBS, CONFIG_MAPS, JOBS, PYTORCHJOBS, Document

from tests.apiserver.conftest import kubectl
from tests.apiserver.play import Cluster, eventually, job_document
from tests.unit.operator.builders import OUTPUT

FROM_SFT = {"model": {"fromJob": {"name": "sft"}}}
PIPELINE: dict[str, dict[str, Any]] = {
    "ppo": {
        "method": "PPO",
        **FROM_SFT,
        "rewardModel": {"fromJob": {"name": "judge"}},
        "ppo": {"maxNewTokens": 8},
    },
    "judge": {"method": "Reward", **FROM_SFT},
    "sft": {"model": {"fromJob": {"name": "cpt"}}},
    "cpt": {"method": "CPT"},
}
RUN = OUTPUT.uri.rpartition("/")[0]


async def started_from(cluster: Cluster, name: str) -> Document:
    """The run file of a job's preparation."""
    job = await cluster.job(name)
    identity = JobIdentity(namespace=cluster.namespace, name=name, uid=job["metadata"]["uid"])
    found = await cluster.client.get(CONFIG_MAPS, cluster.namespace, prepare_name(identity))
    run: Document = json.loads(found["data"]["run.json"])
    return run


@pytest.mark.parametrize("order", [list(PIPELINE), list(PIPELINE)[::-1]], ids=["last", "first"])
async def test_a_directory_of_jobs_runs_as_a_pipeline(
    cluster: Cluster, tmp_path: Any, order: list[str]
) -> None:
    cluster.start_operator()
    for place, name in enumerate(order):
        document = job_document(name, cluster.namespace, **PIPELINE[name])
        (tmp_path / f"{place}-{name}.json").write_text(json.dumps(document))
    kubectl(cluster.server, "apply", "-f", str(tmp_path))
    for name in ("cpt", "sft", "judge", "ppo"):
        await cluster.reaches("Running", name=name)
        if name == "cpt":
            for other in set(PIPELINE) - {"cpt"}:
                await cluster.reaches("Pending", name=other)
        await cluster.publish(job=name)
        await cluster.reaches("Complete", name=name)
    status = await cluster.status("ppo")
    uids = {name: (await cluster.job(name))["metadata"]["uid"] for name in PIPELINE}
    assert status["parents"] == [
        {
            "role": role,
            "name": name,
            "uid": uids[name],
            "uri": RUN,
            "manifestSHA256": OUTPUT.manifest_sha256,
        }
        for role, name in (("Model", "sft"), ("RewardModel", "judge"))
    ]
    run = await started_from(cluster, "ppo")
    assert (run["spec"]["model"]["uri"], run["spec"]["rewardModel"]["uri"]) == (RUN, RUN)
    assert run["parents"] == status["parents"]


async def test_a_parent_deleted_after_it_was_pinned_does_no_harm(cluster: Cluster) -> None:
    cluster.start_operator()
    await cluster.apply("sft")
    await cluster.publish(job="sft")
    await cluster.reaches("Complete", name="sft")
    await cluster.apply("dpo", method="DPO", **FROM_SFT)
    await cluster.reaches("Running", name="dpo")
    await cluster.client.delete(JOBS, cluster.namespace, "sft", propagation="Background")
    await cluster.delete_pod(await cluster.master(job="dpo"))
    await cluster.reaches("Running", 2, name="dpo")
    await cluster.publish(2, job="dpo")
    status = await cluster.reaches("Complete", name="dpo")
    assert [parent["name"] for parent in status["parents"]] == ["sft"]


async def test_a_failed_parent_is_named_and_one_applied_anew_is_waited_for(
    cluster: Cluster,
) -> None:
    cluster.start_operator()
    good, cluster.prepare_text = cluster.prepare_text, None
    await cluster.apply("dpo", method="DPO", **FROM_SFT)
    missing = await cluster.says("Accepted", "WaitingForParent", "dpo")
    assert "FineTuneJob sft does not exist" in missing["message"]
    await cluster.apply("sft", activeDeadlineSeconds=1)
    await cluster.reaches("Failed", name="sft")
    stalled = await cluster.says("Stalled", "ParentFailed", "dpo")
    assert stalled["status"] == "True"
    assert "FineTuneJob sft failed (DeadlineExceeded: " in stalled["message"]
    described = kubectl(cluster.server, "-n", cluster.namespace, "describe", "ftj", "dpo")
    assert "Warning  ParentFailed" in described
    assert "apply it again under the same name" in described

    cluster.prepare_text = good
    await cluster.client.delete(JOBS, cluster.namespace, "sft", propagation="Background")
    await cluster.apply("sft")
    await cluster.publish(job="sft")
    await cluster.reaches("Running", name="dpo")
    conditions = (await cluster.status("dpo"))["conditions"]
    assert [c["status"] for c in conditions if c["type"] == "Stalled"] == ["False"]


async def test_what_can_never_be_a_parent_fails_the_job_before_it_takes_a_pod(
    cluster: Cluster,
) -> None:
    cluster.start_operator()
    cluster.prepare_text = None
    await cluster.apply("judge", method="Reward")
    await cluster.apply("elsewhere", storage={"endpoint": "http://other:9000"})
    wrong = {
        "reward-as-model": {"model": {"fromJob": {"name": "judge"}}},
        "another-store": {"model": {"fromJob": {"name": "elsewhere"}}},
        "one": {"model": {"fromJob": {"name": "two"}}},
        "two": {"model": {"fromJob": {"name": "one"}}},
    }
    for name, spec in wrong.items():
        await cluster.apply(name, **spec)
    for name, reason in zip(
        wrong, ("InvalidSpec", "InvalidSpec", "ParentCycle", "ParentCycle"), strict=True
    ):
        await cluster.reaches("Failed", name=name)
        for kind in ("Failed", "Accepted"):
            condition = await cluster.says(kind, reason, name)
            assert condition["status"] == ("True" if kind == "Failed" else "False")
    assert "one -> two -> one" in (await cluster.says("Failed", "ParentCycle", "one"))["message"]
    prepared = {job["metadata"]["name"].rsplit("-", 2)[0] for job in await cluster.all(BATCH_JOBS)}
    assert prepared <= {"judge", "elsewhere"}
    assert await cluster.all(PYTORCHJOBS) == []


async def test_a_child_that_waits_is_not_written_while_its_parent_works(cluster: Cluster) -> None:
    cluster.start_operator()
    await cluster.apply("sft")
    await cluster.apply("dpo", method="DPO", **FROM_SFT)
    await cluster.reaches("Running", name="sft")

    async def settled() -> bool:
        message = (await cluster.says("Accepted", "WaitingForParent", "dpo"))["message"]
        return bool(message == "FineTuneJob sft is Running")

    await eventually(settled, "the child says that its parent runs")
    version = (await cluster.job("dpo"))["metadata"]["resourceVersion"]
    await cluster.change(JOBS, "sft", {"metadata": {"labels": {"looked": "at"}}})
    # Once a later job is there, the operator has seen that change.
    await cluster.apply("later")
    await cluster.reaches("Running", name="later")
    assert (await cluster.job("dpo"))["metadata"]["resourceVersion"] == version
    await cluster.publish(job="sft")
    await cluster.reaches("Running", name="dpo")
