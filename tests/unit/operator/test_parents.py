"""Jobs that start from what other jobs publish: waiting, pinning, and what can never be."""

from datetime import timedelta
from typing import Any

import pytest
from finetune_api.status import FineTuneJobStatus, Phase
from finetune_operator.act import Target
from finetune_operator.decide.chain import decide
from finetune_operator.decide.decision import CreatePrepare, Decision
from finetune_operator.dependents import Dependents
from finetune_operator.kinds import JOBS, Document
from finetune_operator.observe import Situation, observe
from finetune_operator.store import Store

from tests.unit.operator.builders import START, complete_job, job_document, spec_with

FROM_SFT = {"model": {"fromJob": {"name": "sft"}}}
PPO: dict[str, Any] = {
    "method": "PPO",
    **FROM_SFT,
    "rewardModel": {"fromJob": {"name": "judge"}},
    "ppo": {"maxNewTokens": 8},
}


class Namespace:
    """Jobs of a namespace, and the operator's decision about one of them."""

    def __init__(self, *others: Document, **spec: Any) -> None:
        self.store = Store()
        self.version = 1
        self.now = START
        self.put(job_document("child", spec_with(**spec).to_wire()))
        for other in others:
            self.put(other)

    def put(self, document: Document) -> None:
        """The API server's next version of a job."""
        self.version += 1
        metadata = {**document["metadata"], "resourceVersion": str(self.version)}
        self.store.put(JOBS, {**document, "metadata": metadata})

    def get(self, name: str = "child") -> Document:
        found = self.store.get(JOBS, ("team-a", name))
        assert found is not None
        return found

    def remove(self, name: str) -> None:
        self.store.remove(JOBS, self.get(name))

    def step(self) -> Decision:
        """One decision, whose status is written."""
        self.now += timedelta(seconds=1)
        document = self.get()
        fit = Situation(pods_checked={document["metadata"]["uid"]})
        decision = decide(observe(self.store, document, fit, 10.0), self.now)
        self.put({**document, "status": decision.status.to_wire()})
        return decision


def said(decision: Decision, kind: str) -> tuple[str, str, str]:
    """(status, reason, message) of a condition."""
    found = next(c for c in decision.status.conditions if c.type == kind)
    return found.status, found.reason, found.message


def running(name: str, **fields: Any) -> Document:
    document = job_document(name, **fields)
    return {**document, "status": FineTuneJobStatus(phase=Phase.RUNNING).to_wire()}


def broken(name: str) -> Document:
    condition = {
        "type": "Failed",
        "status": "True",
        "reason": "InvalidData",
        "message": "row 3 is empty",
        "lastTransitionTime": "2026-01-02T03:04:05Z",
    }
    return {**job_document(name), "status": {"phase": "Failed", "conditions": [condition]}}


def test_a_job_waits_for_one_that_does_not_exist_yet() -> None:
    decision = Namespace(**FROM_SFT).step()
    assert (decision.status.phase, decision.actions) == (Phase.PENDING, ())
    status, reason, message = said(decision, "Accepted")
    assert (status, reason) == ("True", "WaitingForParent")
    assert message.startswith("FineTuneJob sft does not exist. ")
    assert said(decision, "Reconciling")[0] == "True"


def test_nothing_is_written_while_nothing_changes() -> None:
    namespace = Namespace(running("sft"), **FROM_SFT)
    first = namespace.step()
    assert said(first, "Reconciling") == ("False", "WaitingForParent", "FineTuneJob sft is Running")
    assert namespace.step().status == first.status


def test_a_complete_job_is_pinned_before_anything_is_prepared() -> None:
    namespace = Namespace(complete_job("sft"), **FROM_SFT)
    decision = namespace.step()
    assert (decision.label, decision.actions, decision.confirm) == ("parents-pinned", (), True)
    (pin,) = decision.status.parents or []
    assert (pin.role, pin.name, pin.uid) == ("Model", "sft", "sft-1111-2222")
    assert (pin.uri, pin.manifest_sha256) == ("s3://artifacts/sft/run", "sft")

    preparing = namespace.step()

    assert preparing.actions == (CreatePrepare(),)
    run = Target(namespace.get(), spec_with(**FROM_SFT), preparing.status).run_file(0)
    assert (run.spec.model.uri, run.spec.model.from_job) == ("s3://artifacts/sft/run", None)
    assert run.parents == [pin]


def test_a_parent_deleted_or_made_anew_after_it_was_pinned_changes_nothing() -> None:
    namespace = Namespace(complete_job("sft"), **FROM_SFT)
    pins = namespace.step().status.parents
    namespace.remove("sft")
    assert namespace.step().status.parents == pins
    again = running("sft")
    again["metadata"]["uid"] = "sft-again"
    namespace.put(again)
    decision = namespace.step()
    assert (decision.status.parents, decision.status.phase) == (pins, Phase.PREPARING)


def test_all_parents_are_pinned_at_once() -> None:
    namespace = Namespace(complete_job("sft"), running("judge", method="Reward"), **PPO)
    waiting = namespace.step()
    assert (waiting.status.parents, said(waiting, "Accepted")[2]) == (
        None,
        "FineTuneJob judge is Running",
    )
    namespace.put(complete_job("judge", method="Reward"))
    pinned = namespace.step()
    assert [pin.name for pin in pinned.status.parents or []] == ["sft", "judge"]
    assert said(pinned, "Accepted")[:2] == ("True", "Accepted")


def test_a_failed_parent_stalls_the_job_until_it_is_applied_again() -> None:
    namespace = Namespace(broken("sft"), **FROM_SFT)
    decision = namespace.step()
    assert decision.status.phase == Phase.PENDING
    status, reason, message = said(decision, "Stalled")
    assert (status, reason) == ("True", "ParentFailed")
    assert message.startswith("FineTuneJob sft failed (InvalidData: row 3 is empty). Mend ")
    namespace.remove("sft")
    mended = running("sft")
    mended["metadata"]["uid"] = "sft-mended"
    namespace.put(mended)
    assert said(namespace.step(), "Stalled")[0] == "False"
    done = complete_job("sft")
    done["metadata"]["uid"] = "sft-mended"
    namespace.put(done)
    assert namespace.step().label == "parents-pinned"


def test_a_parent_that_is_being_deleted_is_not_pinned() -> None:
    leaving = complete_job("sft")
    leaving["metadata"]["deletionTimestamp"] = "2026-01-02T03:04:05Z"
    decision = Namespace(leaving, **FROM_SFT).step()
    _, reason, message = said(decision, "Accepted")
    assert reason == "WaitingForParent"
    assert message.startswith("FineTuneJob sft is being deleted. ")
    assert said(decision, "Reconciling")[0] == "True"


def test_a_suspended_parent_is_named_with_what_to_do() -> None:
    paused = running("sft")
    paused["status"]["phase"] = "Suspended"
    words = said(Namespace(paused, **FROM_SFT).step(), "Accepted")[2]
    assert words == "FineTuneJob sft is Suspended: set its spec.suspend to false"


def test_who_is_suspended_is_not_stalled_by_a_failed_parent() -> None:
    namespace = Namespace(broken("sft"), **FROM_SFT)
    assert said(namespace.step(), "Stalled")[0] == "True"
    child = namespace.get()
    namespace.put({**child, "spec": {**child["spec"], "suspend": True}})
    decision = namespace.step()
    assert decision.status.phase == Phase.SUSPENDED
    assert said(decision, "Stalled")[0] == "False"
    assert said(decision, "Accepted")[:2] == ("True", "Accepted")


@pytest.mark.parametrize(
    ("parent", "spec", "words"),
    [
        (running("sft", method="Reward"), FROM_SFT, "sft makes a reward model"),
        (running("judge"), PPO, "judge is of method SFT: name one of method Reward"),
        (running("sft", stopAfter="Data"), FROM_SFT, "sft ends after stopAfter Data"),
        (
            running("sft", storage={"endpoint": "http://other:9000"}),
            FROM_SFT,
            "at http://other:9000, and this job reads from AWS",
        ),
    ],
    ids=["reward-as-model", "sft-as-reward", "no-result", "another-store"],
)
def test_a_parent_that_can_never_fit_fails_the_job(
    parent: Document, spec: dict[str, Any], words: str
) -> None:
    decision = Namespace(parent, **spec).step()
    assert decision.status.phase == Phase.FAILED
    for kind, value in (("Accepted", "False"), ("Failed", "True"), ("Stalled", "True")):
        status, reason, message = said(decision, kind)
        assert (status, reason) == (value, "InvalidSpec")
        assert words in message
        assert message.startswith("spec.")


def test_the_same_store_may_be_written_with_a_slash_at_its_end() -> None:
    parent = complete_job("sft", storage={"endpoint": "http://store:9000/"})
    namespace = Namespace(parent, **FROM_SFT, storage={"endpoint": "http://store:9000"})
    assert namespace.step().label == "parents-pinned"


def test_jobs_that_wait_for_each_other_fail_with_the_circle_named() -> None:
    others = (
        job_document("sft", model={"fromJob": {"name": "cpt"}}),
        job_document("cpt", model={"fromJob": {"name": "child"}}),
    )
    decision = Namespace(*others, **FROM_SFT).step()
    status, reason, message = said(decision, "Failed")
    assert (status, reason) == ("True", "ParentCycle")
    assert message.startswith("jobs wait for each other: child -> sft -> cpt -> child. ")


def test_a_job_outside_a_circle_waits_for_the_one_inside() -> None:
    others = (
        job_document("sft", model={"fromJob": {"name": "cpt"}}),
        job_document("cpt", model={"fromJob": {"name": "sft"}}),
    )
    assert said(Namespace(*others, **FROM_SFT).step(), "Accepted")[1] == "WaitingForParent"


def test_a_suspended_job_does_not_wait_for_its_parent() -> None:
    decision = Namespace(**FROM_SFT, suspend=True).step()
    assert decision.status.phase == Phase.SUSPENDED


def test_a_change_of_a_job_wakes_those_that_name_it() -> None:
    woken: list[tuple[str, str]] = []
    store = Store(woken.append)
    store.put(JOBS, job_document("child", spec_with(**FROM_SFT).to_wire()))
    store.put(JOBS, job_document("stranger"))
    woken.clear()
    store.put(JOBS, complete_job("sft"))
    assert woken == [("team-a", "sft"), ("team-a", "child")]


def test_a_job_that_is_gone_waits_for_nobody() -> None:
    dependents = Dependents()
    child = job_document("child", spec_with(**FROM_SFT).to_wire())
    dependents.note(child)
    assert dependents.of(("team-a", "sft")) == (("team-a", "child"),)
    dependents.forget(child)
    assert dependents.of(("team-a", "sft")) == ()
