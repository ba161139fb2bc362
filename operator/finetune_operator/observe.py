"""Reads one job's snapshot out of the store."""

from collections.abc import Iterator
from dataclasses import dataclass, field

from finetune_api.children import ROLE_PREPARE, ROLE_TRAIN, prepare_name
from finetune_api.progress import Progress
from finetune_api.runfile import JobIdentity
from finetune_api.status import FineTuneJobStatus
from finetune_api.validate import Target, examine

from finetune_operator.backends.pytorchjob import PYTORCHJOB
from finetune_operator.kinds import BATCH_JOBS, PODS, PYTORCHJOBS, Document
from finetune_operator.parents import cycle_through, parents_of
from finetune_operator.seen import Obstacle, Pod, PrepareJob, Seen
from finetune_operator.store import Store
from finetune_operator.views import view_pod, view_prepare_job


@dataclass
class Situation:
    """What is known beside the store; the parts that write it are named."""

    backend_available: bool = True
    """By the look at discovery."""
    progress: dict[str, Progress] = field(default_factory=dict)
    """Job UID -> a report that may be written; by the progress reader."""
    obstacles: dict[str, Obstacle] = field(default_factory=dict)
    """Job UID -> why a child was refused; by the reconciler."""


def identity_of(document: Document) -> JobIdentity:
    """Whose job a document is."""
    metadata = document["metadata"]
    return JobIdentity(namespace=metadata["namespace"], name=metadata["name"], uid=metadata["uid"])


def observe(store: Store, document: Document, situation: Situation, retry_seconds: float) -> Seen:
    """Everything that is seen of the job in `document`.

    Raises pydantic.ValidationError when the status is not one of ours.
    """
    identity = identity_of(document)
    metadata, uid = document["metadata"], identity.uid
    job, problems = examine(document, Target.CLUSTER)
    pods = list(_pods(store, uid))
    return Seen(
        identity=identity,
        generation=metadata["generation"],
        deleting="deletionTimestamp" in metadata,
        spec=job.spec if job else None,
        invalid="; ".join(map(str, problems)),
        newer=bool(problems) and all(problem.unknown for problem in problems),
        status=FineTuneJobStatus.parse_wire(document.get("status") or {}),
        prepare_job=_prepare_job(store, identity),
        pod_sets=tuple(PYTORCHJOB.observe(found) for found in store.owned(PYTORCHJOBS, uid)),
        prepare_pods=tuple(pod for pod in pods if pod.role == ROLE_PREPARE),
        train_pods=tuple(pod for pod in pods if pod.role == ROLE_TRAIN),
        backend_available=situation.backend_available,
        progress=situation.progress.get(uid),
        obstacle=situation.obstacles.get(uid),
        retry_seconds=retry_seconds,
        parents=parents_of(store, document),
        cycle=cycle_through(store, document),
    )


def _pods(store: Store, uid: str) -> Iterator[Pod]:
    yield from (view_pod(document) for document in store.owned(PODS, uid))
    yield from (view_pod(document, gone=True) for document in store.departed_pods(uid))


def _prepare_job(store: Store, identity: JobIdentity) -> PrepareJob | None:
    for document in store.owned(BATCH_JOBS, identity.uid):
        if document["metadata"]["name"] == prepare_name(identity):
            return view_prepare_job(document)
    return None
