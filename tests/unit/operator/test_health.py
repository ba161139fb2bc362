"""What GitOps tools make of a job's status: Argo CD by the script of the chart, Flux by kstatus."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from finetune_api.crd import crd
from finetune_api.exits import Outcome
from finetune_api.reasons import Reason
from finetune_operator.seen import PodPhase
from lupa import LuaRuntime

from tests.unit.operator.builders import (
    PUBLISHED_TEXT,
    World,
    complete_job,
    ended,
    job_document,
    pod_set,
    told,
    train_pod,
)
from tests.unit.operator.test_parents import FROM_SFT, Namespace, broken

CHART = Path(__file__).parents[3] / "charts" / "finetune-operator"
SCRIPT = (CHART / "files" / "argocd-health.lua").read_text(encoding="utf-8")
Document = dict[str, Any]


def argocd(job: Document) -> tuple[str, str]:
    """(status, message) by the script, in a Lua without libraries, as Argo CD runs it."""
    lua = LuaRuntime(unpack_returned_tuples=True)
    function = lua.eval(f"function(obj) {SCRIPT} end")
    health = function(lua.table_from(job, recursive=True))
    return health["status"], health["message"]


def kstatus(job: Document) -> str:
    """The status that sigs.k8s.io/cli-utils computes for a custom resource without Ready."""
    status = job.get("status", {})
    if (
        status.get("observedGeneration", job["metadata"]["generation"])
        != (job["metadata"]["generation"])
    ):
        return "InProgress"
    found = {c["type"]: c["status"] for c in status.get("conditions", [])}
    if found.get("Reconciling") == "True":
        return "InProgress"
    return "Failed" if found.get("Stalled") == "True" else "Current"


def document(world: World) -> Document:
    return {**job_document("support"), "status": world.status.to_wire()}


def new() -> Document:
    """As the API server stores it before the operator writes anything."""
    status = crd()["spec"]["versions"][0]["schema"]["openAPIV3Schema"]["properties"]["status"]
    return {**job_document("support"), "status": status["default"]}


def changed_since() -> Document:
    seen = document(World().running())
    return {**seen, "metadata": {**seen["metadata"], "generation": 2}}


def preparing() -> Document:
    world = World()
    world.step()
    return document(world)


def in_a_queue() -> Document:
    world = World().launched().see(pod_sets=(pod_set(suspended=True),))
    world.step()
    return document(world)


def running() -> Document:
    return document(World().running())


def restarting() -> Document:
    world = World().running()
    failure = told(Outcome.INTERNAL, Reason.INTERNAL_ERROR)
    world.see(train_pods=(train_pod(phase=PodPhase.FAILED, terminated=failure),)).step()
    return document(world)


def complete() -> Document:
    world = World().running()
    done = train_pod(phase=PodPhase.SUCCEEDED, terminated=ended(PUBLISHED_TEXT, 0))
    world.see(train_pods=(done,)).step()
    return document(world)


def failed() -> Document:
    world = World().running()
    mistake = told(Outcome.USER_ERROR, Reason.MODEL_INVALID, message="no weights")
    world.see(train_pods=(train_pod(phase=PodPhase.FAILED, terminated=mistake),)).step()
    return document(world)


def suspended() -> Document:
    world = World(suspend=True)
    world.step()
    return document(world)


def child(*others: Document) -> Document:
    namespace = Namespace(*others, **FROM_SFT)
    namespace.step()
    return namespace.get()


def waiting_for_a_parent() -> Document:
    return child(running() | {"metadata": job_document("sft")["metadata"]})


def without_its_parent() -> Document:
    return child()


def behind_a_failed_parent() -> Document:
    return child(broken("sft"))


def pinned() -> Document:
    return child(complete_job("sft"))


STATES: dict[Callable[[], Document], tuple[str, str, str]] = {
    new: ("InProgress", "Progressing", "the operator has not seen this job yet"),
    changed_since: ("InProgress", "Progressing", "the operator has not seen this change yet"),
    preparing: ("InProgress", "Progressing", "Preparing: "),
    in_a_queue: ("InProgress", "Progressing", "WaitingForQuota: a queue holds"),
    running: ("Current", "Progressing", "Launched: "),
    restarting: ("InProgress", "Progressing", "Restarting: incarnation 1 ended"),
    complete: ("Current", "Healthy", "Published: Load the adapter from"),
    failed: ("Failed", "Degraded", "ModelInvalid: no weights"),
    suspended: ("Current", "Suspended", "Suspended: set spec.suspend to false"),
    waiting_for_a_parent: (
        "Current",
        "Progressing",
        "WaitingForParent: FineTuneJob sft is Running",
    ),
    without_its_parent: ("InProgress", "Progressing", "WaitingForParent: FineTuneJob sft does not"),
    behind_a_failed_parent: ("Failed", "Degraded", "ParentFailed: FineTuneJob sft failed"),
    pinned: ("InProgress", "Progressing", "Preparing: "),
}


@pytest.mark.parametrize("state", STATES, ids=[state.__name__ for state in STATES])
def test_gitops_tools_see_where_a_job_stands(state: Callable[[], Document]) -> None:
    flux, health, message = STATES[state]
    job = state()
    status, said = argocd(job)
    assert (kstatus(job), status) == (flux, health)
    assert said.startswith(message)


def test_the_script_shows_progress_while_a_job_runs() -> None:
    job = running()
    job["status"]["progress"] = {"stage": "Training", "step": 6, "totalSteps": 12, "percent": 50}
    assert argocd(job) == ("Progressing", "Training, 50 %")
