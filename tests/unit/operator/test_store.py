"""The store: views arrive in any order and the newest stays."""

from typing import Any

from finetune_api.job import LABEL_JOB, LABEL_JOB_UID
from finetune_api.reasons import Reason
from finetune_operator.kinds import JOBS, PODS, PYTORCHJOBS, Document, Key
from finetune_operator.observe import Situation
from finetune_operator.seen import Obstacle
from finetune_operator.store import Store


def thing(name: str, version: int, *, uid: str = "", job: str = "", **body: Any) -> Document:
    labels = {LABEL_JOB: job, LABEL_JOB_UID: f"uid-{job}"} if job else {}
    return {
        "metadata": {
            "namespace": "ns",
            "name": name,
            "uid": uid or f"uid-{name}",
            "resourceVersion": str(version),
            "creationTimestamp": "2026-01-02T03:04:05Z",
            "labels": labels,
        },
        **body,
    }


def test_an_older_view_never_replaces_a_newer_one() -> None:
    store = Store()
    assert store.put(JOBS, thing("a", 5, phase="new"))
    assert not store.put(JOBS, thing("a", 4, phase="old"))
    found = store.get(JOBS, ("ns", "a"))
    assert found is not None
    assert found["phase"] == "new"


def test_a_deleted_object_does_not_come_back_but_its_successor_does() -> None:
    store = Store()
    store.put(JOBS, thing("a", 5, uid="first"))
    store.remove(JOBS, thing("a", 6, uid="first"))
    assert not store.put(JOBS, thing("a", 5, uid="first"))
    assert store.put(JOBS, thing("a", 7, uid="second"))
    store.remove(JOBS, thing("a", 6, uid="first"))
    assert store.get(JOBS, ("ns", "a")) is not None


def test_changes_wake_the_owner() -> None:
    woken: list[Key] = []
    store = Store(on_change=woken.append)
    store.put(PODS, thing("a-0", 5, job="a"))
    store.put(PODS, thing("a-0", 5, job="a"))
    store.put(JOBS, thing("a", 6))
    store.remove(PODS, thing("a-0", 7, job="a"))
    assert woken == [("ns", "a")] * 3


def test_children_are_found_by_their_jobs_uid() -> None:
    store = Store()
    store.put(PODS, thing("a-0", 5, job="a"))
    store.put(PODS, thing("b-0", 6, job="b"))
    assert [pod["metadata"]["name"] for pod in store.owned(PODS, "uid-a")] == ["a-0"]


def test_a_deleted_pods_last_words_are_kept_until_its_job_goes() -> None:
    store = Store()
    store.put(JOBS, thing("a", 1))
    store.put(PODS, thing("a-0", 5, job="a"))
    store.remove(PODS, thing("a-0", 6, job="a", status="last words"))
    assert store.owned(PODS, "uid-a") == []
    assert [pod["status"] for pod in store.departed_pods("uid-a")] == ["last words"]
    store.remove(JOBS, thing("a", 7))
    assert store.departed_pods("uid-a") == []


def test_a_full_list_heals_missed_additions_changes_and_deletions() -> None:
    store = Store()
    store.put(PODS, thing("same", 1, job="a"))
    store.put(PODS, thing("changed", 2, job="a"))
    store.put(PODS, thing("gone", 3, job="a"))
    store.put(PODS, thing("newer-than-the-list", 12, job="a"))
    listed = [thing("same", 1, job="a"), thing("changed", 8, job="a"), thing("new", 9, job="a")]
    assert store.replace(PODS, None, listed, "10") == 3
    names = {pod["metadata"]["name"] for pod in store.owned(PODS, "uid-a")}
    assert names == {"same", "changed", "new", "newer-than-the-list"}


def test_a_list_of_one_jobs_children_leaves_the_others_alone() -> None:
    store = Store()
    store.put(PODS, thing("a-0", 1, job="a"))
    store.put(PODS, thing("b-0", 2, job="b"))
    assert store.replace(PODS, "ns", [], "10", job_uid="uid-a") == 1
    assert len(store.owned(PODS, "uid-b")) == 1


def test_objects_of_a_kind_that_was_not_served_for_a_moment_come_back() -> None:
    woken: list[Key] = []
    store = Store(woken.append)
    store.put(PYTORCHJOBS, thing("set", 5, job="a"))
    woken.clear()
    assert store.clear(PYTORCHJOBS) == 1
    assert (store.owned(PYTORCHJOBS, "uid-a"), woken) == ([], [("ns", "a")])
    assert store.replace(PYTORCHJOBS, None, [thing("set", 5, job="a")], "9") == 1
    assert len(store.owned(PYTORCHJOBS, "uid-a")) == 1


def test_pods_of_a_job_that_was_replaced_unseen_are_forgotten() -> None:
    store = Store()
    store.put(JOBS, thing("a", 5, uid="uid-a"))
    store.put(PODS, thing("pod", 6, job="a"))
    store.remove(PODS, thing("pod", 7, job="a"))
    assert len(store.departed_pods("uid-a")) == 1
    store.put(JOBS, thing("a", 8, uid="another"))
    assert store.departed_pods("uid-a") == []


def test_what_is_known_of_jobs_that_are_gone_is_let_go() -> None:
    refused = Obstacle(Reason.POD_REJECTED, "no")
    situation = Situation(obstacles={"here": refused, "gone": refused})
    situation.pods_checked |= {"here", "gone"}
    situation.forget_all_but({"here"})
    assert (set(situation.obstacles), situation.pods_checked) == ({"here"}, {"here"})
