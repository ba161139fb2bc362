"""Reads one job's snapshot out of the store."""

from collections.abc import Iterator
from dataclasses import dataclass, field

from finetune_api.children import ROLE_PREPARE, ROLE_TRAIN, prepare_name
from finetune_api.job import LABEL_ROLE
from finetune_api.progress import Progress
from finetune_api.runfile import JobIdentity
from finetune_api.status import FineTuneJobStatus
from finetune_api.validate import Target, examine

from finetune_operator.backends.choice import BACKENDS
from finetune_operator.kinds import BATCH_JOBS, PODS, Document
from finetune_operator.parents import cycle_through, parents_of
from finetune_operator.seen import Backends, Obstacle, Pod, PodSet, PrepareJob, Seen
from finetune_operator.store import Store
from finetune_operator.views import view_pod, view_prepare_job


@dataclass
class Situation:
    """What is known beside the store; the parts that write it are named."""

    backends: Backends = field(default_factory=Backends)
    """What is served is written by the look at discovery."""
    progress: dict[str, Progress] = field(default_factory=dict)
    """Job UID -> a report that may be written; by the progress reader."""
    obstacles: dict[str, Obstacle] = field(default_factory=dict)
    """Job UID -> why a child was refused; by the reconciler."""
    pods_checked: set[str] = field(default_factory=set)
    """UIDs of jobs that are not accepted yet and whose pods were checked; by the reconciler."""

    def forget_all_but(self, uids: set[str]) -> None:
        """Let go of what is known of jobs that are gone."""
        self.pods_checked &= uids
        for known in (self.progress, self.obstacles):
            for uid in known.keys() - uids:
                del known[uid]


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
        pod_sets=tuple(_pod_sets(store, uid)),
        prepare_pods=tuple(pod for pod in pods if pod.role == ROLE_PREPARE),
        train_pods=tuple(pod for pod in pods if pod.role == ROLE_TRAIN),
        backends=situation.backends,
        progress=situation.progress.get(uid),
        obstacle=situation.obstacles.get(uid),
        pods_checked=uid in situation.pods_checked,
        retry_seconds=retry_seconds,
        parents=parents_of(store, document),
        cycle=cycle_through(store, document),
    )


def _pods(store: Store, uid: str) -> Iterator[Pod]:
    yield from (view_pod(document) for document in store.owned(PODS, uid))
    yield from (view_pod(document, gone=True) for document in store.departed_pods(uid))


def _pod_sets(store: Store, uid: str) -> Iterator[PodSet]:
    for backend in BACKENDS:
        for document in store.owned(backend.kind, uid):
            if document["metadata"]["labels"].get(LABEL_ROLE) == ROLE_TRAIN:
                yield backend.observe(document)


def _prepare_job(store: Store, identity: JobIdentity) -> PrepareJob | None:
    for document in store.owned(BATCH_JOBS, identity.uid):
        if document["metadata"]["name"] == prepare_name(identity):
            return view_prepare_job(document)
    return None
