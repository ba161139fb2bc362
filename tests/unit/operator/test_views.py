"""Kubernetes documents as the decisions see them."""

from typing import Any

import pytest
from finetune_api.children import QUEUE_LABEL, ChildSettings, Owner
from finetune_api.reasons import Reason
from finetune_operator.backends.batchjob import BATCH_JOB
from finetune_operator.backends.pytorchjob import PYTORCHJOB
from finetune_operator.config import Config
from finetune_operator.kinds import Document
from finetune_operator.patch import merge_patch
from finetune_operator.seen import Finish
from finetune_operator.views import view_pod, view_prepare_job
from hypothesis import given
from hypothesis import strategies as st

from tests.unit.operator.builders import IDENTITY, spec_with

CONFIG_ERROR = "CreateContainerConfigError"
MISSING = Reason.CREDENTIALS_MISSING


def pod(**status: Any) -> Document:
    metadata = {"name": "p", "uid": "u", "creationTimestamp": "2026-01-02T03:04:05Z"}
    return {"metadata": metadata, "status": status}


def waiting(reason: str, message: str) -> Document:
    state = {"waiting": {"reason": reason, "message": message}}
    return pod(containerStatuses=[{"name": "pytorch", "image": "trainer:1", "state": state}])


@pytest.mark.parametrize(
    ("reason", "message", "expected", "words"),
    [
        (CONFIG_ERROR, 'secret "keys" not found', MISSING, "Secret keys"),
        (CONFIG_ERROR, "couldn't find key K in Secret ns/keys", MISSING, "Secret keys"),
        (CONFIG_ERROR, "container has runAsNonRoot", Reason.POD_REJECTED, "runAsNonRoot"),
        ("ImagePullBackOff", "Back-off pulling", Reason.POD_REJECTED, "trainer:1 cannot be pulled"),
        ("ErrImageNeverPull", "", Reason.POD_REJECTED, "trainer:1 cannot be pulled"),
    ],
)
def test_what_keeps_a_container_from_starting_is_named(
    reason: str, message: str, expected: Reason, words: str
) -> None:
    found = view_pod(waiting(reason, message)).waiting_for
    assert found is not None
    assert found.reason is expected
    assert words in found.message


def test_the_schedulers_words_are_kept() -> None:
    condition = {"type": "PodScheduled", "status": "False", "message": "0/3 nodes are available"}
    found = view_pod(pod(conditions=[condition])).waiting_for
    assert found is not None
    assert (found.reason, found.message) == (Reason.WAITING_FOR_PODS, "0/3 nodes are available")


def test_the_time_of_a_deletion_is_when_it_was_asked_for() -> None:
    document = pod()
    document["metadata"] |= {
        "deletionTimestamp": "2026-01-02T03:06:05Z",
        "deletionGracePeriodSeconds": 120,
    }
    seen = view_pod(document)
    assert seen.deleted_at == seen.created


def test_a_preempted_pod_is_disrupted() -> None:
    condition = {"type": "DisruptionTarget", "status": "True", "reason": "PreemptionByScheduler"}
    assert view_pod(pod(conditions=[condition])).disrupted is not None
    assert view_pod(pod(reason="Evicted", message="low on memory")).disrupted is not None


def conditions(*names: str) -> Document:
    return {"conditions": [{"type": name, "status": "True", "message": "m"} for name in names]}


def test_a_pytorchjob_that_says_both_has_failed() -> None:
    document = PYTORCHJOB.start(
        Owner(IDENTITY), spec_with(), ChildSettings("i"), attempt=1, incarnation=3
    )
    document["metadata"] |= {"uid": "u", "creationTimestamp": "2026-01-02T03:04:05Z"}
    assert PYTORCHJOB.observe(document).incarnation == 3
    assert PYTORCHJOB.observe(document).finish is None
    document["status"] = conditions("Running", "Succeeded", "Failed")
    assert PYTORCHJOB.observe(document).finish is Finish.FAILED
    document["spec"]["runPolicy"]["suspend"] = True
    assert PYTORCHJOB.observe(document).suspended
    assert QUEUE_LABEL not in document["metadata"]["labels"]


def test_a_pod_that_outgrew_its_own_limit_was_not_disrupted() -> None:
    words = 'Usage of EmptyDir volume "work" exceeds the limit "1Gi". '
    assert view_pod(pod(reason="Evicted", message=words)).disrupted is None
    words = "The node was low on resource: ephemeral-storage."
    assert view_pod(pod(reason="Evicted", message=words)).disrupted is not None


def test_a_batch_job_that_trains_is_read_as_a_set_of_pods() -> None:
    document = BATCH_JOB.start(
        Owner(IDENTITY, queue="gpus"), spec_with(), ChildSettings("i"), attempt=1, incarnation=3
    )
    assert document["metadata"]["labels"][QUEUE_LABEL] == "gpus"
    document["metadata"] |= {"uid": "u", "creationTimestamp": "2026-01-02T03:04:05Z"}
    seen = BATCH_JOB.observe(document)
    assert (seen.backend, seen.incarnation, seen.finish) == ("Job", 3, None)
    assert (seen.taken_up, seen.suspended) == (False, False)
    document["spec"]["suspend"] = True
    document["status"] = conditions("FailureTarget")
    seen = BATCH_JOB.observe(document)
    assert (seen.taken_up, seen.suspended, seen.finish) == (True, True, None)
    document["status"] = conditions("FailureTarget", "Failed")
    assert BATCH_JOB.observe(document).finish is Finish.FAILED


def test_a_batch_job_has_ended_only_by_its_last_condition() -> None:
    document = {**pod(), "spec": {}}
    document["status"] = conditions("FailureTarget")
    assert view_prepare_job(document).finish is None
    document["status"] = conditions("FailureTarget", "Failed")
    assert view_prepare_job(document).finish is Finish.FAILED


trees = st.recursive(
    st.integers() | st.lists(st.integers()),
    lambda inner: st.dictionaries(st.sampled_from("abc"), inner, max_size=3),
)
documents = st.dictionaries(st.sampled_from("abc"), trees, max_size=3)


def merged(old: Document, patch: Document) -> Document:
    """RFC 7396."""
    result = dict(old)
    for key, value in patch.items():
        if value is None:
            result.pop(key, None)
        elif isinstance(value, dict):
            there = result.get(key)
            result[key] = merged(there if isinstance(there, dict) else {}, value)
        else:
            result[key] = value
    return result


@given(old=documents, new=documents)
def test_a_merge_patch_turns_the_old_into_the_new(old: Document, new: Document) -> None:
    assert merged(old, merge_patch(old, new)) == new
    assert merge_patch(new, new) == {}


def test_settings_come_from_the_environment() -> None:
    config = Config.from_environment(
        {"FINETUNE_TRAINER_IMAGE": "t:1", "FINETUNE_NAMESPACES": "a, b,", "POD_NAME": "me"}
    )
    assert (config.namespaces, config.pod_name) == (("a", "b"), "me")
    assert config.leader_election
    assert config.backend == "Auto"
    with pytest.raises(ValueError, match="FINETUNE_BACKEND must be one of"):
        Config.from_environment({"FINETUNE_TRAINER_IMAGE": "t", "FINETUNE_BACKEND": "pytorchjob"})
    with pytest.raises(ValueError, match="FINETUNE_TRAINER_IMAGE is required"):
        Config.from_environment({})
    with pytest.raises(ValueError, match="FINETUNE_RESYNC_SECONDS must be a number"):
        Config.from_environment({"FINETUNE_TRAINER_IMAGE": "t", "FINETUNE_RESYNC_SECONDS": "x"})


def test_an_image_that_is_tried_again_is_told_in_the_same_words() -> None:
    error = 'ErrImagePull: failed to pull "trainer:1": not found'
    words = {
        "ErrImagePull": error.removeprefix("ErrImagePull: "),
        "ImagePullBackOff": f'Back-off pulling image "trainer:1": {error}',
    }
    said = set()
    for reason, message in words.items():
        obstacle = view_pod(waiting(reason, message)).waiting_for
        assert obstacle is not None
        said.add(obstacle.message)
    assert said == {f"image trainer:1 cannot be pulled: {error}"}
