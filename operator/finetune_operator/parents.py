"""Which jobs name which: who is to be looked at again, what a job waits for, and circles."""

from collections.abc import Iterator

from finetune_api.status import OutputStatus

from finetune_operator.dependents import references_of
from finetune_operator.kinds import JOBS, Document, Key
from finetune_operator.seen import Parent, ParentJob
from finetune_operator.store import Store


def parents_of(store: Store, document: Document) -> tuple[Parent, ...]:
    """The jobs that the job in `document` names; none once they are pinned."""
    if _pinned(document):
        return ()
    namespace = document["metadata"]["namespace"]
    found = []
    for role, name in references_of(document).items():
        job = store.get(JOBS, (namespace, name))
        found.append(Parent(role, name, view_parent(job) if job else None))
    return tuple(found)


def view_parent(document: Document) -> ParentJob:
    """A job as those see it that start from its result."""
    metadata, spec = document["metadata"], document["spec"]
    status = document.get("status") or {}
    failed = next(
        (
            condition
            for condition in status.get("conditions") or []
            if condition["type"] == "Failed" and condition["status"] == "True"
        ),
        None,
    )
    output = status.get("output")
    return ParentJob(
        uid=metadata["uid"],
        phase=status.get("phase", "Pending"),
        deleting="deletionTimestamp" in metadata,
        method=spec.get("method", ""),
        stop_after=spec.get("stopAfter"),
        endpoint=spec.get("storage", {}).get("endpoint"),
        failure=f"{failed['reason']}: {failed['message']}" if failed else "",
        output=OutputStatus.read_wire(output) if output else None,
    )


def cycle_through(store: Store, document: Document) -> tuple[str, ...]:
    """Names from the job in `document` along what each waits for back to it; empty without one."""
    namespace, own = document["metadata"]["namespace"], document["metadata"]["name"]
    behind: dict[str, str] = {}
    """Job -> the one that waits for it, on the way from `own`."""
    edge = [own]
    while edge:
        waiting = edge.pop()
        for name in _awaited(store, (namespace, waiting)):
            if name == own:
                return _path(behind, own, waiting)
            if name not in behind:
                behind[name] = waiting
                edge.append(name)
    return ()


def _path(behind: dict[str, str], own: str, last: str) -> tuple[str, ...]:
    path = [own, last]
    while path[-1] != own:
        path.append(behind[path[-1]])
    return tuple(reversed(path))


def _awaited(store: Store, key: Key) -> Iterator[str]:
    document = store.get(JOBS, key)
    if document is not None and not _pinned(document):
        yield from references_of(document).values()


def _pinned(document: Document) -> bool:
    return bool((document.get("status") or {}).get("parents"))
