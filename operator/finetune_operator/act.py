"""Carries decisions out: creates and deletes children, one request after the other."""

from dataclasses import dataclass

from finetune_api.children import (
    PREPARE_QUEUE_LABEL,
    QUEUE_LABEL,
    ChildSettings,
    Owner,
    attempt_name,
    prepare_job,
    prepare_name,
    run_config_map,
)
from finetune_api.job import LABEL_JOB_UID
from finetune_api.lineage import with_parents
from finetune_api.reasons import Reason
from finetune_api.resolve import resolve
from finetune_api.runfile import Overrides, RunFile
from finetune_api.spec import FineTuneJobSpec
from finetune_api.status import FineTuneJobStatus

from finetune_operator.backends.batchjob import BATCH_JOB
from finetune_operator.backends.choice import backend_named, kind_of
from finetune_operator.client import ApiError, Client
from finetune_operator.crash import CrashPoints
from finetune_operator.decide.decision import (
    Action,
    CheckPods,
    CreatePods,
    CreatePrepare,
    DeleteRunFiles,
    StopPods,
    StopPrepare,
)
from finetune_operator.kinds import BATCH_JOBS, CONFIG_MAPS, WATCHED, Document, Kind
from finetune_operator.observe import identity_of
from finetune_operator.refusal import mistake_in, obstacle_of
from finetune_operator.seen import Obstacle
from finetune_operator.store import Store


class RefusedError(Exception):
    """The API server will not take a child; the obstacle says whether another day may help."""

    def __init__(self, obstacle: Obstacle) -> None:
        super().__init__(obstacle.message)
        self.obstacle = obstacle


@dataclass(frozen=True)
class Target:
    """The job that actions are for."""

    document: Document
    checked: FineTuneJobSpec | None
    """None when the manifest is invalid; then only deletions are decided."""
    status: FineTuneJobStatus

    @property
    def spec(self) -> FineTuneJobSpec:
        """The spec of a valid job."""
        assert self.checked is not None, "nothing is created for an invalid job"
        return self.checked

    @property
    def owner(self) -> Owner:
        """The job with the queues that its labels name."""
        labels = self.document["metadata"].get("labels", {})
        return Owner(
            identity_of(self.document),
            queue=labels.get(QUEUE_LABEL),
            prepare_queue=labels.get(PREPARE_QUEUE_LABEL),
        )

    def run_file(self, attempt: int) -> RunFile:
        """The run file of an attempt; of the preparation for attempt 0."""
        parents = self.status.parents or []
        overrides = Overrides(micro_batch_tokens=self.status.micro_batch_tokens)
        return RunFile(
            job=identity_of(self.document),
            spec=resolve(with_parents(self.spec, parents)),
            attempt=attempt,
            overrides=overrides if attempt else Overrides(),
            parents=parents,
            prepared=self.status.prepared if attempt else None,
        )


class Actor:
    """Does what was decided; every answer of the API server goes into the store."""

    def __init__(
        self, client: Client, store: Store, settings: ChildSettings, crash: CrashPoints
    ) -> None:
        self._client = client
        self._store = store
        self._settings = settings
        self._crash = crash

    async def act(self, target: Target, action: Action) -> None:
        """Carry one action out. Raises RefusedError, ApiError and aiohttp's errors."""
        match action:
            case CheckPods():
                await self._check_pods(target)
            case CreatePrepare():
                await self._create_prepare(target)
            case CreatePods():
                await self._create_pods(target, action)
            case StopPrepare(name, uid):
                await self._delete("prepare", BATCH_JOBS, target, name, uid)
            case StopPods(backend, name, uid):
                await self._delete(backend.lower(), kind_of(backend), target, name, uid)
            case DeleteRunFiles(attempt):
                await self._delete_run_files(target, attempt)

    async def _check_pods(self, target: Target) -> None:
        """The training pod as it would be, in a kind that the API server validates to the last
        field and that needs no right of its own. Only what no other day would change is raised."""
        settings = self._settings
        job = BATCH_JOB.start(target.owner, target.spec, settings, attempt=1, incarnation=1)
        try:
            await self._client.check(BATCH_JOB.kind, job["metadata"]["namespace"], job)
        except ApiError as error:
            mistake = mistake_in(job, error)
            if mistake is not None:
                raise RefusedError(mistake) from error

    async def _create_prepare(self, target: Target) -> None:
        owner = target.owner
        name = prepare_name(owner.identity)
        run_file = run_config_map(owner, name, target.run_file(0))
        await self._create("prepare-configmap", CONFIG_MAPS, run_file)
        job = prepare_job(owner, target.spec, self._settings)
        await self._create("prepare", BATCH_JOBS, job)

    async def _create_pods(self, target: Target, action: CreatePods) -> None:
        owner = target.owner
        name = attempt_name(owner.identity, action.attempt)
        run_file = run_config_map(owner, name, target.run_file(action.attempt))
        await self._create("configmap", CONFIG_MAPS, run_file)
        backend = backend_named(action.backend)
        assert backend is not None
        pods = backend.start(
            owner,
            target.spec,
            self._settings,
            attempt=action.attempt,
            incarnation=action.incarnation,
        )
        await self._create(backend.name.lower(), backend.kind, pods)

    async def _create(self, label: str, kind: Kind, document: Document) -> None:
        namespace = document["metadata"]["namespace"]
        self._crash.passed(f"before-create-{label}")
        try:
            made = await self._client.create(kind, namespace, document)
        except ApiError as error:
            if not error.already_exists:
                obstacle = obstacle_of(kind, document, error)
                raise (RefusedError(obstacle) if obstacle else error) from error
            made = await self._ours(kind, document)
        self._crash.passed(f"after-create-{label}")
        if kind in WATCHED:
            self._store.put(kind, made)

    async def _ours(self, kind: Kind, document: Document) -> Document:
        """The object that is there already, if it is this job's child."""
        metadata = document["metadata"]
        there = await self._client.get(kind, metadata["namespace"], metadata["name"])
        owners = {owner["uid"] for owner in there["metadata"].get("ownerReferences") or []}
        if metadata["labels"][LABEL_JOB_UID] in owners:
            return there
        words = f"{kind.plural} {metadata['name']} exists and belongs to another; delete it"
        raise RefusedError(Obstacle(Reason.POD_REJECTED, words))

    async def _delete(self, label: str, kind: Kind, target: Target, name: str, uid: str) -> None:
        namespace = target.document["metadata"]["namespace"]
        self._crash.passed(f"before-delete-{label}")
        left = await self._client.delete(kind, namespace, name, uid=uid)
        self._crash.passed(f"after-delete-{label}")
        if left is not None and left.get("kind") != "Status":
            self._store.put(kind, left)

    async def _delete_run_files(self, target: Target, last_attempt: int) -> None:
        identity = identity_of(target.document)
        names = [prepare_name(identity)]
        names += [attempt_name(identity, attempt) for attempt in range(1, last_attempt + 1)]
        for name in names:
            await self._client.delete(
                CONFIG_MAPS, identity.namespace, name, propagation="Background"
            )
