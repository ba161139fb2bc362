"""Refusals of the API server: whose fault, and for how long."""

import pytest
from finetune_api.children import ChildSettings, Owner, prepare_job, pytorch_job, training_job
from finetune_api.reasons import Reason
from finetune_operator.client import ApiError, Cause
from finetune_operator.kinds import BATCH_JOBS, PYTORCHJOBS
from finetune_operator.refusal import mistake_in, obstacle_of

from tests.unit.operator.builders import IDENTITY, spec_with

SETTINGS = ChildSettings("trainer:1")
TRAINING = training_job(Owner(IDENTITY), spec_with(), SETTINGS, attempt=1, incarnation=1)
PREPARATION = prepare_job(Owner(IDENTITY), spec_with(), SETTINGS)


def invalid(field: str) -> ApiError:
    cause = Cause("FieldValueInvalid", field, 'Invalid value: "x"')
    return ApiError(422, "Invalid", "Job.batch is invalid", (cause,))


@pytest.mark.parametrize(
    ("below", "ours"),
    [
        ("spec.tolerations[0].operator", "podTemplate.tolerations[0].operator"),
        ("spec.affinity.nodeAffinity", "podTemplate.affinity.nodeAffinity"),
        ("spec.topologySpreadConstraints[0].maxSkew", "podTemplate.topologySpread[0].maxSkew"),
        ("spec.containers[0].resources.requests", "workers.resources.requests"),
        ("spec.containers[0].env[0].name", "podTemplate.env[0].name"),
        ("spec.priorityClassName", "priorityClassName"),
        ("spec.volumes[1].emptyDir.sizeLimit", "podTemplate.scratch.size"),
        ("spec.volumes[3].emptyDir.sizeLimit", "podTemplate.sharedMemory"),
        ("spec.volumes[1].ephemeral.volumeClaimTemplate", "podTemplate.scratch"),
        ("labels", "podTemplate.labels"),
        ("annotations", "podTemplate.annotations"),
    ],
)
def test_a_mistake_is_named_where_the_user_wrote_it(below: str, ours: str) -> None:
    for path in (f"spec.template.{below}", f"spec.pytorchReplicaSpecs.Master.template.{below}"):
        found = mistake_in(TRAINING, invalid(path))
        assert found is not None
        assert found.reason is Reason.INVALID_SPEC
        assert found.message.startswith(f"spec.{ours}: ")


def test_resources_of_the_preparation_are_told_from_those_of_training() -> None:
    error = invalid("spec.template.spec.containers[0].resources.requests")
    found = mistake_in(PREPARATION, error)
    assert found is not None
    assert found.message.startswith("spec.preparation.resources.requests: ")


def test_a_field_that_is_no_users_is_named_as_the_api_server_does() -> None:
    found = mistake_in(TRAINING, invalid("spec.template.spec.hostNetwork"))
    assert found is not None
    assert found.message.startswith("spec.template.spec.hostNetwork: ")


@pytest.mark.parametrize(
    "error",
    [
        ApiError(403, "Forbidden", "exceeded quota: team-a"),
        ApiError(422, "Invalid", "denied by something that names no field"),
        ApiError(422, "Invalid", "no field", (Cause("", "", "ValidatingAdmissionPolicy 'p'"),)),
        ApiError(
            422,
            "Invalid",
            'admission webhook "v.kueue" denied the request: Job is invalid',
            (Cause("FieldValueInvalid", "metadata.labels", "Invalid value"),),
        ),
        ApiError(400, "BadRequest", 'admission webhook "v" does not support dry run'),
    ],
)
def test_what_another_day_may_change_is_tried_again(error: ApiError) -> None:
    assert mistake_in(TRAINING, error) is None
    found = obstacle_of(BATCH_JOBS, TRAINING, error)
    assert found is not None
    assert (found.reason, found.message) == (Reason.POD_REJECTED, error.message)


def test_a_backend_that_does_not_answer_is_no_refusal_of_the_pods() -> None:
    spec = spec_with()
    child = pytorch_job(Owner(IDENTITY), spec, SETTINGS, attempt=1, incarnation=1)
    error = ApiError(500, "InternalError", "failed calling webhook")
    found = obstacle_of(PYTORCHJOBS, child, error)
    assert found is not None
    assert found.reason is Reason.BACKEND_UNAVAILABLE
    assert obstacle_of(BATCH_JOBS, TRAINING, error) is None
