"""Reconciles one job: observe, decide, one status patch, then the actions."""

import logging
from dataclasses import replace

from finetune_api.children import ChildSettings
from finetune_api.job import LABEL_JOB_UID
from finetune_api.status import Phase

from finetune_operator.act import Actor, RefusedError, Target
from finetune_operator.client import ApiError, Client
from finetune_operator.crash import CrashPoints
from finetune_operator.decide.chain import decide
from finetune_operator.decide.decision import CheckPods, Decision
from finetune_operator.dependents import references_of
from finetune_operator.events import event_for, now_utc, post
from finetune_operator.kinds import CHILDREN, JOBS, OPTIONAL, Document, Key
from finetune_operator.log import fields
from finetune_operator.metrics import Metrics
from finetune_operator.observe import Situation, observe
from finetune_operator.patch import merge_patch
from finetune_operator.seen import Obstacle, Seen
from finetune_operator.store import Store

logger = logging.getLogger(__name__)

REFUSED_RETRY_SECONDS = 15.0
CONFLICT_RETRY_SECONDS = 0.2
"""Somebody wrote the job meanwhile; it has been read afresh."""


class Reconciler:
    """Brings one job nearer to its end with each call; safe to die between any two lines."""

    def __init__(
        self,
        client: Client,
        store: Store,
        situation: Situation,
        metrics: Metrics,
        *,
        settings: ChildSettings,
        crash: CrashPoints,
        retry_seconds: float,
    ) -> None:
        self._client = client
        self._store = store
        self._situation = situation
        self._metrics = metrics
        self._crash = crash
        self._retry_seconds = retry_seconds
        self._actor = Actor(client, store, settings, crash)

    async def reconcile(self, key: Key) -> float | None:
        """Seconds until the job must be looked at again, or None."""
        with (
            self._metrics.reconcile_seconds.time(),
            self._metrics.reconcile_errors.count_exceptions(),
        ):
            return await self._reconcile(key)

    async def _reconcile(self, key: Key) -> float | None:
        looked = self._look(key)
        if looked is None:
            self._situation.forget_all_but({d["metadata"]["uid"] for d in self._store.jobs()})
            return None
        document, seen = looked
        decision = decide(seen, now_utc())
        about_to_act = decision.actions or decision.status != seen.status
        if decision.awaits_absence or (decision.confirm and about_to_act):
            looked = await self._look_afresh(key, document)
            if looked is None:
                return None
            document, seen = looked
            decision = decide(seen, now_utc())
        document = await self._write_status(document, seen, decision)
        refused = await self._act(document, seen, decision)
        if not refused:
            return decision.requeue_after
        return await self._say_refused(key)

    def _look(self, key: Key) -> tuple[Document, Seen] | None:
        document = self._store.get(JOBS, key)
        if document is None:
            return None
        return document, observe(self._store, document, self._situation, self._retry_seconds)

    async def _look_afresh(self, key: Key, document: Document) -> tuple[Document, Seen] | None:
        """Read job and children from the API server, so that no stale view starts or ends pods.

        The job first: children are then never older than the status that speaks of them.
        """
        namespace, name = key
        uid = document["metadata"]["uid"]
        await self._read_job(namespace, name)
        for parent in references_of(document).values():
            await self._read_job(namespace, parent)
        for kind in CHILDREN:
            try:
                listed, version = await self._client.list_all(
                    kind, namespace, f"{LABEL_JOB_UID}={uid}"
                )
            except ApiError as error:
                if not (error.not_found and kind in OPTIONAL):
                    raise
                continue
            self._store.replace(kind, namespace, listed, version, job_uid=uid)
        return self._look(key)

    async def _read_job(self, namespace: str, name: str) -> None:
        known = self._store.get(JOBS, (namespace, name))
        try:
            self._store.put(JOBS, await self._client.get(JOBS, namespace, name))
        except ApiError as error:
            if not error.not_found:
                raise
            if known is not None:
                self._store.remove(JOBS, known)

    async def _write_status(self, document: Document, seen: Seen, decision: Decision) -> Document:
        patch = merge_patch(_written(document, seen), decision.status.to_wire())
        if not patch:
            return document
        metadata = document["metadata"]
        point = _point(decision)
        self._crash.passed(f"before-status-{point}")
        try:
            written = await self._client.patch_status(
                JOBS, metadata["namespace"], metadata["name"], metadata["resourceVersion"], patch
            )
        except ApiError as error:
            if error.conflict or error.not_found:
                await self._look_afresh((metadata["namespace"], metadata["name"]), document)
            raise
        self._crash.passed(f"after-status-{point}")
        self._metrics.status_writes.inc()
        self._metrics.decisions.labels(label=decision.label).inc()
        self._store.put(JOBS, written)
        self._log(seen, decision, sorted(patch))
        event = event_for(document, seen.status, decision.status, now_utc())
        if event is not None:
            await post(self._client, event)
        return written

    async def _act(self, document: Document, seen: Seen, decision: Decision) -> bool:
        """Do the actions; True when the API server refused one."""
        refused: Obstacle | None = None
        for action in decision.actions:
            self._log(seen, decision, [type(action).__name__])
            try:
                await self._actor.act(Target(document, seen.spec, decision.status), action)
            except RefusedError as error:
                refused = error.obstacle
                break
        self._note(seen.identity.uid, decision, refused)
        return refused is not None

    def _note(self, uid: str, decision: Decision, refused: Obstacle | None) -> None:
        """What the next decision about the job has to know."""
        if CheckPods() in decision.actions:
            self._situation.pods_checked.add(uid)
        else:
            self._situation.pods_checked.discard(uid)
        if refused is not None:
            self._situation.obstacles[uid] = refused
        elif decision.actions:
            self._situation.obstacles.pop(uid, None)

    async def _say_refused(self, key: Key) -> float | None:
        """Write why; the actions are tried again later."""
        looked = self._look(key)
        if looked is not None:
            document, seen = looked
            decision = replace(decide(seen, now_utc()), label="refused")
            await self._write_status(document, seen, decision)
        return REFUSED_RETRY_SECONDS

    def _log(self, seen: Seen, decision: Decision, what: list[str]) -> None:
        identity = seen.identity
        logger.info(
            "decided %s",
            decision.label,
            extra=fields(
                job=f"{identity.namespace}/{identity.name}",
                uid=identity.uid,
                phase=decision.status.phase,
                incarnation=decision.status.incarnation or None,
                changes=",".join(what),
            ),
        )


def _written(document: Document, seen: Seen) -> Document:
    """The status without what stands in no object yet, which readers would miss."""
    there = document.get("status") or {}
    return {name: value for name, value in seen.status.to_wire().items() if name in there}


def _point(decision: Decision) -> str:
    """Name of a status write among the crash points."""
    ends = {Phase.COMPLETE: "complete", Phase.FAILED: "failed"}
    return ends.get(decision.status.phase, decision.label)
