"""The kinds of objects that the operator watches."""

from dataclasses import dataclass
from typing import Any

from finetune_api.job import GROUP, PLURAL, VERSION

Document = dict[str, Any]
Key = tuple[str, str]
"""(namespace, name) of a FineTuneJob."""


@dataclass(frozen=True)
class Kind:
    """A resource type of the API server."""

    group: str
    version: str
    plural: str

    @property
    def root(self) -> str:
        """Path of the group and version."""
        return f"/apis/{self.group}/{self.version}" if self.group else f"/api/{self.version}"

    def path(self, namespace: str | None = None, name: str | None = None) -> str:
        """Path of a collection, or of one object."""
        scope = f"/namespaces/{namespace}" if namespace else ""
        return f"{self.root}{scope}/{self.plural}" + (f"/{name}" if name else "")


JOBS = Kind(GROUP, VERSION, PLURAL)
PODS = Kind("", "v1", "pods")
BATCH_JOBS = Kind("batch", "v1", "jobs")
PYTORCHJOBS = Kind("kubeflow.org", "v1", "pytorchjobs")
CONFIG_MAPS = Kind("", "v1", "configmaps")
EVENTS = Kind("", "v1", "events")
LEASES = Kind("coordination.k8s.io", "v1", "leases")

WATCHED = (JOBS, PODS, BATCH_JOBS, PYTORCHJOBS)
CHILDREN = (PODS, BATCH_JOBS, PYTORCHJOBS)
OPTIONAL = frozenset({PYTORCHJOBS})
"""Kinds that a cluster need not have."""
