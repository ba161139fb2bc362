"""The last seen state of every watched object.

Watches, lists and the answers to our own writes all end here, in any order; an older view never
replaces a newer one, and a UID once seen deleted never comes back. Times are monotonic seconds.
"""

import time
from collections import OrderedDict
from collections.abc import Callable, Iterable

from finetune_api.job import LABEL_JOB, LABEL_JOB_UID

from finetune_operator.dependents import Dependents
from finetune_operator.kinds import JOBS, PODS, Document, Key, Kind

_REMEMBERED_DELETIONS = 20_000
_DEPARTED_PER_JOB = 200


def version_of(document: Document) -> int:
    """The object's resourceVersion, which Kubernetes 1.35 declares comparable."""
    return int(document["metadata"]["resourceVersion"])


def owner_of(kind: Kind, document: Document) -> Key | None:
    """The job that the object is, or that its label names."""
    metadata = document["metadata"]
    name = metadata["name"] if kind == JOBS else metadata.get("labels", {}).get(LABEL_JOB)
    return (metadata["namespace"], name) if name else None


class Store:
    """Objects by kind and by the job that owns them."""

    def __init__(self, on_change: Callable[[Key], None] = lambda _: None) -> None:
        self._objects: dict[Kind, dict[Key, Document]] = {}
        self._children: dict[tuple[Kind, str], dict[str, Document]] = {}
        self._deleted: OrderedDict[str, int] = OrderedDict()
        self._departed: dict[str, dict[str, Document]] = {}
        self._dependents = Dependents()
        self._on_change = on_change

    def get(self, kind: Kind, key: Key) -> Document | None:
        """The object `key` of `kind`."""
        return self._objects.get(kind, {}).get(key)

    def jobs(self) -> Iterable[Document]:
        """Every FineTuneJob."""
        return self._objects.get(JOBS, {}).values()

    def owned(self, kind: Kind, job_uid: str) -> list[Document]:
        """Children of `kind` that carry the job's UID, oldest first."""
        found = self._children.get((kind, job_uid), {}).values()
        return sorted(
            found, key=lambda o: (o["metadata"]["creationTimestamp"], o["metadata"]["name"])
        )

    def departed_pods(self, job_uid: str) -> list[Document]:
        """Last words of the job's pods that were seen deleted."""
        return list(self._departed.get(job_uid, {}).values())

    def put(self, kind: Kind, document: Document) -> bool:
        """Take a view of an object; False when it is not newer than what is known."""
        metadata = document["metadata"]
        if metadata["uid"] in self._deleted:
            return False
        key = (metadata["namespace"], metadata["name"])
        known = self.get(kind, key)
        if known is not None:
            same = known["metadata"]["uid"] == metadata["uid"]
            if version_of(known) >= version_of(document):
                return False
            if not same:
                self._forget(kind, known)
                self._departed.pop(known["metadata"]["uid"], None)
        metadata.pop("managedFields", None)
        self._objects.setdefault(kind, {})[key] = document
        if kind == JOBS:
            self._dependents.note(document)
        job_uid = metadata.get("labels", {}).get(LABEL_JOB_UID)
        if kind != JOBS and job_uid:
            self._children.setdefault((kind, job_uid), {})[metadata["uid"]] = document
        self._changed(kind, document)
        return True

    def remove(self, kind: Kind, document: Document) -> None:
        """Note that the object is gone; `document` is its last state."""
        uid = document["metadata"]["uid"]
        if uid in self._deleted:
            return
        self._deleted[uid] = int(time.monotonic())
        while len(self._deleted) > _REMEMBERED_DELETIONS:
            self._deleted.popitem(last=False)
        known = self.get(kind, (document["metadata"]["namespace"], document["metadata"]["name"]))
        if known is not None and known["metadata"]["uid"] == uid:
            self._forget(kind, known)
        self._remember_pod(kind, document)
        if kind == JOBS:
            self._departed.pop(uid, None)
        self._changed(kind, document)

    def replace(
        self,
        kind: Kind,
        namespace: str | None,
        listed: list[Document],
        list_version: str,
        job_uid: str | None = None,
    ) -> int:
        """Take a consistent list as the truth at `list_version`; the number of differences.

        With `job_uid`, the list holds only that job's children.
        """
        missed = sum(self.put(kind, document) for document in listed)
        present = {document["metadata"]["uid"] for document in listed}
        if job_uid is None:
            known = list(self._objects.get(kind, {}).values())
        else:
            known = self.owned(kind, job_uid)
        for document in known:
            metadata = document["metadata"]
            inside = namespace is None or metadata["namespace"] == namespace
            if (
                inside
                and metadata["uid"] not in present
                and version_of(document) <= int(list_version)
            ):
                self.remove(kind, document)
                missed += 1
        return missed

    def clear(self, kind: Kind) -> int:
        """The kind is not served now, so none of its objects is seen; how many there were. Those
        that come back with it are the same."""
        known = list(self._objects.get(kind, {}).values())
        for document in known:
            self._forget(kind, document)
            self._changed(kind, document)
        return len(known)

    def _forget(self, kind: Kind, document: Document) -> None:
        metadata = document["metadata"]
        self._objects[kind].pop((metadata["namespace"], metadata["name"]), None)
        if kind == JOBS:
            self._dependents.forget(document)
        index = (kind, metadata.get("labels", {}).get(LABEL_JOB_UID, ""))
        children = self._children.get(index)
        if children is not None:
            children.pop(metadata["uid"], None)
            if not children:
                del self._children[index]

    def _remember_pod(self, kind: Kind, document: Document) -> None:
        job_uid = document["metadata"].get("labels", {}).get(LABEL_JOB_UID)
        if kind != PODS or not job_uid or job_uid in self._deleted:
            return
        pods = self._departed.setdefault(job_uid, {})
        pods[document["metadata"]["uid"]] = document
        while len(pods) > _DEPARTED_PER_JOB:
            pods.pop(next(iter(pods)))

    def _changed(self, kind: Kind, document: Document) -> None:
        key = owner_of(kind, document)
        if key is None:
            return
        self._on_change(key)
        if kind == JOBS:
            for dependent in self._dependents.of(key):
                self._on_change(dependent)
