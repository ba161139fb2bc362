"""Plays Kueue towards the objects that carry its queue label.

What Kueue's webhooks do is done by admission policies of the API server: a new object is suspended
before it is stored, and the queue of one that is not suspended cannot be changed. Admission,
eviction and the node selector of a flavour are written by `Kueue` itself, each write counted.
"""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from finetune_api.children import QUEUE_LABEL
from finetune_operator.client import MERGE_PATCH, ApiError
from finetune_operator.kinds import BATCH_JOBS, PYTORCHJOBS, Document, Kind

from tests.apiserver.play import Cluster, eventually, is_suspended

FLAVOUR = {"pool": "spot"}
MUTATING = Kind("admissionregistration.k8s.io", "v1", "mutatingadmissionpolicies")
MUTATING_BINDINGS = Kind("admissionregistration.k8s.io", "v1", "mutatingadmissionpolicybindings")
VALIDATING = Kind("admissionregistration.k8s.io", "v1", "validatingadmissionpolicies")
VALIDATING_BINDINGS = Kind(
    "admissionregistration.k8s.io", "v1", "validatingadmissionpolicybindings"
)
_QUEUED = f"has(object.metadata.labels) && '{QUEUE_LABEL}' in object.metadata.labels"
_SUSPENDED = {
    "jobs": "has(oldObject.spec.suspend) && oldObject.spec.suspend",
    "pytorchjobs": "has(oldObject.spec.runPolicy.suspend) && oldObject.spec.runPolicy.suspend",
}
_SUSPEND = {
    "jobs": "Object{spec: Object.spec{suspend: true}}",
    "pytorchjobs": "Object{spec: Object.spec{runPolicy: Object.spec.runPolicy{suspend: true}}}",
}


class Kueue:
    """One queue that admits and evicts when a test says so."""

    def __init__(self, cluster: Cluster, kind: Kind) -> None:
        self._cluster = cluster
        self._kind = kind
        self.writes = 0
        """Changes of objects' specs, all of them Kueue's."""

    @classmethod
    @asynccontextmanager
    async def ruling(cls, cluster: Cluster, kind: Kind) -> AsyncIterator["Kueue"]:
        """Kueue over all objects of `kind` in the cluster's namespace."""
        kueue, name = cls(cluster, kind), f"kueue-{cluster.namespace}"
        client = cluster.client
        await client._write("POST", MUTATING.path(), _suspends_new(name, kind))
        await client._write("POST", VALIDATING.path(), _keeps_queues(name, kind))
        for bindings in (MUTATING_BINDINGS, VALIDATING_BINDINGS):
            await client._write("POST", bindings.path(), _binding(bindings, name, cluster))
        try:
            await eventually(kueue._in_force, "the policies are in force")
            yield kueue
        finally:
            for kinds in (MUTATING_BINDINGS, VALIDATING_BINDINGS, MUTATING, VALIDATING):
                await client._write("DELETE", kinds.path(name=name), {})

    async def only(self) -> Document:
        """The one queued object, once it is there."""

        async def there() -> list[Document]:
            found = await self._cluster.all(self._kind)
            return [each for each in found if QUEUE_LABEL in each["metadata"]["labels"]]

        (found,) = await eventually(there, f"a queued object of {self._kind.plural}")
        return dict(found)

    async def admit(self) -> None:
        """There is quota, on nodes of a flavour."""
        await self._change(suspend=False, selector=FLAVOUR)

    async def evict(self) -> None:
        """The quota is taken back: pods end, then the object is as it was before."""
        await self._change(suspend=True, selector=None)

        async def stopped() -> bool:
            return "startTime" not in (await self.only()).get("status", {})

        await eventually(stopped, "the object has stopped")
        await self._change(suspend=True, selector=dict.fromkeys(FLAVOUR))

    async def _change(self, *, suspend: bool, selector: dict[str, str] | Document | None) -> None:
        queued = await self.only()
        spec: Document = {}
        template = {"template": {"spec": {"nodeSelector": selector}}} if selector else {}
        if self._kind == PYTORCHJOBS:
            replicas = queued["spec"]["pytorchReplicaSpecs"]
            spec["runPolicy"] = {"suspend": suspend}
            spec["pytorchReplicaSpecs"] = dict.fromkeys(replicas, template)
        else:
            spec = {"suspend": suspend, **template}
        await self._cluster.change(self._kind, queued["metadata"]["name"], {"spec": spec})
        after = await self.only()
        self.writes += after["metadata"]["generation"] - queued["metadata"]["generation"]

    async def refuses_another_queue(self) -> bool:
        """Whether the object's label cannot be changed now; nothing is changed."""
        queued = await self.only()
        path = self._kind.path(self._cluster.namespace, queued["metadata"]["name"])
        body = {"metadata": {"labels": {QUEUE_LABEL: "another"}}}
        try:
            await self._cluster.client._request(
                "PATCH", path, query={"dryRun": "All"}, body=body, content_type=MERGE_PATCH
            )
        except ApiError as error:
            return "queue of a job that is not suspended" in error.message
        return False

    async def _in_force(self) -> bool:
        """Whether a new object is suspended; none is made."""
        cluster = self._cluster
        path = self._kind.path(cluster.namespace)
        query, body = {"dryRun": "All"}, _probe(self._kind)
        try:
            made = await cluster.client._request("POST", path, query=query, body=body)
        except ApiError as error:
            if error.code != 503:  # The API server does not know the kind's schema yet.
                raise
            return False
        return is_suspended(made)


def selector_of(queued: Document) -> Document:
    """The node selector that the object's pods get."""
    spec = queued["spec"]
    template = spec.get("template") or spec["pytorchReplicaSpecs"]["Master"]["template"]
    return dict(template["spec"].get("nodeSelector") or {})


def _suspends_new(name: str, kind: Kind) -> Document:
    return {
        "apiVersion": "admissionregistration.k8s.io/v1",
        "kind": "MutatingAdmissionPolicy",
        "metadata": {"name": name},
        "spec": {
            "matchConstraints": _constraints(kind, "CREATE"),
            "matchConditions": [{"name": "queued", "expression": _QUEUED}],
            "failurePolicy": "Fail",
            "reinvocationPolicy": "Never",
            "mutations": [
                {
                    "patchType": "ApplyConfiguration",
                    "applyConfiguration": {"expression": _SUSPEND[kind.plural]},
                }
            ],
        },
    }


def _keeps_queues(name: str, kind: Kind) -> Document:
    same = f"object.metadata.labels['{QUEUE_LABEL}'] == oldObject.metadata.labels['{QUEUE_LABEL}']"
    return {
        "apiVersion": "admissionregistration.k8s.io/v1",
        "kind": "ValidatingAdmissionPolicy",
        "metadata": {"name": name},
        "spec": {
            "matchConstraints": _constraints(kind, "UPDATE"),
            "matchConditions": [{"name": "queued", "expression": _QUEUED}],
            "validations": [
                {
                    "expression": f"({_SUSPENDED[kind.plural]}) || {same}",
                    "message": "the queue of a job that is not suspended cannot change",
                }
            ],
        },
    }


def _constraints(kind: Kind, operation: str) -> Document:
    rule = {
        "apiGroups": [kind.group],
        "apiVersions": [kind.version],
        "resources": [kind.plural],
        "operations": [operation],
    }
    return {"resourceRules": [rule]}


def _binding(bindings: Kind, name: str, cluster: Cluster) -> Document:
    labels = {"kubernetes.io/metadata.name": cluster.namespace}
    spec: Document = {
        "policyName": name,
        "matchResources": {"namespaceSelector": {"matchLabels": labels}},
    }
    if bindings == VALIDATING_BINDINGS:
        spec["validationActions"] = ["Deny"]
        kind = "ValidatingAdmissionPolicyBinding"
    else:
        kind = "MutatingAdmissionPolicyBinding"
    return {
        "apiVersion": "admissionregistration.k8s.io/v1",
        "kind": kind,
        "metadata": {"name": name},
        "spec": spec,
    }


def _probe(kind: Kind) -> Document:
    """A queued object that asks for nothing."""
    pod = {"restartPolicy": "Never", "containers": [{"name": "pytorch", "image": "trainer:test"}]}
    template = {"template": {"spec": pod}}
    metadata = {"name": "probe", "labels": {QUEUE_LABEL: "gpus"}}
    if kind == BATCH_JOBS:
        return {"apiVersion": "batch/v1", "kind": "Job", "metadata": metadata, "spec": template}
    replicas = {"Master": {"replicas": 1, **template}}
    return {
        "apiVersion": "kubeflow.org/v1",
        "kind": "PyTorchJob",
        "metadata": metadata,
        "spec": {"pytorchReplicaSpecs": replicas, "runPolicy": {}},
    }
