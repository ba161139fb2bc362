"""What the API server says of a job's children: mistakes end the job, the rest is tried again."""

from typing import Any

import pytest
from finetune_operator.client import ApiError
from finetune_operator.kinds import BATCH_JOBS, Document, Kind

from tests.apiserver.kueue import VALIDATING, VALIDATING_BINDINGS
from tests.apiserver.play import Cluster, eventually

QUOTAS = Kind("", "v1", "resourcequotas")
MORE_THAN_ITS_LIMIT = {"requests": {"cpu": "4"}, "limits": {"cpu": "2"}}
SPREAD = {"maxSkew": 1, "topologyKey": "zone", "whenUnsatisfiable": "Perhaps"}
TYPO: Document = {"nodeAfinity": {}}
FOREVER = {"key": "gpu", "operator": "Sometimes"}


@pytest.mark.parametrize(
    ("spec", "sentence"),
    [
        (
            {"podTemplate": {"tolerations": [FOREVER]}},
            "spec.podTemplate.tolerations[0].operator: Unsupported value",
        ),
        ({"podTemplate": {"affinity": TYPO}}, "spec.podTemplate.affinity.nodeAfinity: unknown"),
        (
            {"podTemplate": {"topologySpread": [SPREAD]}},
            "spec.podTemplate.topologySpread[0].whenUnsatisfiable: Unsupported value",
        ),
        ({"podTemplate": {"labels": {"team": "a b"}}}, "spec.podTemplate.labels: Invalid value"),
        ({"podTemplate": {"affinity": {"podAffinity": "near"}}}, "cannot unmarshal string"),
        (
            {"workers": {"resources": MORE_THAN_ITS_LIMIT}},
            "spec.workers.resources.requests: Invalid value",
        ),
        (
            {"preparation": {"resources": MORE_THAN_ITS_LIMIT}},
            "spec.preparation.resources.requests: Invalid value",
        ),
    ],
    ids=["toleration", "typo", "spread", "label", "type", "workers", "preparation"],
)
async def test_what_no_api_server_takes_fails_the_job_at_once(
    cluster: Cluster, spec: dict[str, Any], sentence: str
) -> None:
    cluster.start_operator()
    await cluster.apply(**spec)
    status = await cluster.reaches("Failed")
    conditions = {c["type"]: c for c in status["conditions"]}
    assert conditions["Failed"]["reason"] == "InvalidSpec"
    assert sentence in conditions["Failed"]["message"]
    assert conditions["Accepted"]["status"] == "False"
    assert await cluster.all(BATCH_JOBS) == []


async def test_what_a_policy_denies_is_tried_again(cluster: Cluster) -> None:
    name = f"no-jobs-{cluster.namespace}"
    client = cluster.client
    await client._write("POST", VALIDATING.path(), _denies_jobs(name))
    await client._write("POST", VALIDATING_BINDINGS.path(), _bound(name, cluster.namespace))
    try:
        await eventually(lambda: _refused(cluster), "the policy is in force")
        cluster.start_operator()
        await cluster.apply()
        told = await cluster.says("DataReady", "PodRejected")
        assert "jobs wait for the evening" in told["message"]
    finally:
        for kind in (VALIDATING_BINDINGS, VALIDATING):
            await client._write("DELETE", kind.path(name=name), {})
    await cluster.reaches("Running")


async def test_what_a_quota_denies_is_tried_again(cluster: Cluster) -> None:
    quota = {"metadata": {"name": "jobs"}, "spec": {"hard": {"count/jobs.batch": "0"}}}
    await cluster.client._write("POST", QUOTAS.path(cluster.namespace), quota)
    # The controller that fills the status in does not run here.
    status = {"status": {"hard": {"count/jobs.batch": "0"}, "used": {"count/jobs.batch": "0"}}}
    await cluster.change(QUOTAS, "jobs", status, "/status")
    await eventually(lambda: _refused(cluster), "the quota is in force")
    cluster.start_operator()
    await cluster.apply()
    told = await cluster.says("DataReady", "PodRejected")
    assert "exceeded quota: jobs" in told["message"]
    await cluster.client._write("DELETE", QUOTAS.path(cluster.namespace, "jobs"), {})
    await cluster.reaches("Running")


async def _refused(cluster: Cluster) -> bool:
    pod = {"restartPolicy": "Never", "containers": [{"name": "c", "image": "i"}]}
    probe = {"metadata": {"name": "probe"}, "spec": {"template": {"spec": pod}}}
    try:
        await cluster.client.check(BATCH_JOBS, cluster.namespace, probe)
    except ApiError:
        return True
    return False


def _denies_jobs(name: str) -> Document:
    rule = {
        "apiGroups": ["batch"],
        "apiVersions": ["v1"],
        "resources": ["jobs"],
        "operations": ["CREATE"],
    }
    return {
        "apiVersion": "admissionregistration.k8s.io/v1",
        "kind": "ValidatingAdmissionPolicy",
        "metadata": {"name": name},
        "spec": {
            "matchConstraints": {"resourceRules": [rule]},
            "validations": [{"expression": "false", "message": "jobs wait for the evening"}],
        },
    }


def _bound(name: str, namespace: str) -> Document:
    labels = {"kubernetes.io/metadata.name": namespace}
    return {
        "apiVersion": "admissionregistration.k8s.io/v1",
        "kind": "ValidatingAdmissionPolicyBinding",
        "metadata": {"name": name},
        "spec": {
            "policyName": name,
            "validationActions": ["Deny"],
            "matchResources": {"namespaceSelector": {"matchLabels": labels}},
        },
    }
