"""Turns Kubernetes documents into the views that decisions read."""

import re
from datetime import datetime, timedelta
from typing import Any

from finetune_api.children import PREPARE_CONTAINER, PYTORCH_CONTAINER
from finetune_api.job import LABEL_INCARNATION, LABEL_ROLE
from finetune_api.reasons import Reason

from finetune_operator.kinds import Document
from finetune_operator.seen import Finish, Obstacle, Pod, PodPhase, PrepareJob, Terminated
from finetune_operator.times import parse_time

IMAGE_REASONS = frozenset(
    {
        "ErrImagePull",
        "ImagePullBackOff",
        "InvalidImageName",
        "ErrImageNeverPull",
        "ImageInspectError",
        "RegistryUnavailable",
    }
)
REFUSED_REASONS = frozenset(
    {"CreateContainerConfigError", "CreateContainerError", "RunContainerError"}
)
_OUTGROWN = re.compile(r"exceeds the (total )?limit|exceeded its local ephemeral storage limit")
"""Of an eviction for what the pod itself did; another pod would do it again."""
_OF_BACKING_OFF = re.compile(r'^ImagePullBackOff: Back-off pulling image "[^"]*": ')
"""What the kubelet says beside the error while it waits; the rest is what it said before."""
_SECRET = re.compile(r"secret \"?(?P<name>[^\s\"]+)\"? not found|key .* in Secret (?P<keyed>\S+)")


def _moment(text: str | None) -> datetime:
    moment = parse_time(text)
    assert moment is not None, "every object has a creationTimestamp"
    return moment


def job_end(document: Document) -> tuple[Finish, str] | None:
    """How a batch Job ended, and its words; None before its last condition."""
    conditions = document.get("status", {}).get("conditions") or []
    true = {c["type"]: c for c in conditions if c["status"] == "True"}
    for name, finish in (("Complete", Finish.SUCCEEDED), ("Failed", Finish.FAILED)):
        if name in true:
            words = true[name].get("reason"), true[name].get("message")
            return finish, ": ".join(filter(None, words))
    return None


def view_prepare_job(document: Document) -> PrepareJob:
    """The batch Job as decisions read it."""
    metadata, end = document["metadata"], job_end(document)
    return PrepareJob(
        name=metadata["name"],
        uid=metadata["uid"],
        started=parse_time(document.get("status", {}).get("startTime")),
        deleted_at=parse_time(metadata.get("deletionTimestamp")),
        suspended=bool(document["spec"].get("suspend")),
        finish=end[0] if end else None,
        message=end[1] if end else "",
    )


def view_pod(document: Document, *, gone: bool = False) -> Pod:
    """The pod as decisions read it."""
    metadata, status = document["metadata"], document.get("status", {})
    labels = metadata.get("labels", {})
    main = _main_container(status)
    return Pod(
        name=metadata["name"],
        uid=metadata["uid"],
        role=labels.get(LABEL_ROLE, ""),
        incarnation=_integer(labels.get(LABEL_INCARNATION)),
        phase=_phase(status.get("phase")),
        created=_moment(metadata["creationTimestamp"]),
        ip=status.get("podIP"),
        deleted_at=_deletion_asked(metadata),
        gone=gone,
        disrupted=_disruption(status),
        failure=": ".join(filter(None, (status.get("reason"), status.get("message")))),
        waiting_for=_obstacle(status, main),
        terminated=_terminated(main),
    )


def _integer(text: str | None) -> int:
    return int(text) if text and text.isdecimal() else 0


def _phase(text: str | None) -> PodPhase:
    return PodPhase(text) if text in set(PodPhase) else PodPhase.PENDING


def _main_container(status: Document) -> Document:
    for container in status.get("containerStatuses") or []:
        if container["name"] in {PYTORCH_CONTAINER, PREPARE_CONTAINER}:
            return dict(container)
    return {}


def _deletion_asked(metadata: Document) -> datetime | None:
    """deletionTimestamp lies in the future by the grace period."""
    at = parse_time(metadata.get("deletionTimestamp"))
    if at is None:
        return None
    return at - timedelta(seconds=metadata.get("deletionGracePeriodSeconds") or 0)


def _disruption(status: Document) -> str | None:
    for condition in status.get("conditions") or []:
        if condition["type"] == "DisruptionTarget" and condition["status"] == "True":
            return f"{condition.get('reason', '')}: {condition.get('message', '')}"
    reason, words = status.get("reason"), status.get("message", "")
    outgrown = reason == "Evicted" and _OUTGROWN.search(words)
    if reason in {"Evicted", "NodeLost", "Preempting", "Shutdown", "NodeShutdown"} and not outgrown:
        return f"{reason}: {words}"
    return None


def _terminated(container: Document) -> Terminated | None:
    ended: dict[str, Any] | None = container.get("state", {}).get("terminated")
    if ended is None:
        return None
    return Terminated(
        exit_code=ended["exitCode"],
        reason=ended.get("reason", ""),
        text=ended.get("message", ""),
        at=parse_time(ended.get("finishedAt")),
    )


def _obstacle(status: Document, main: Document) -> Obstacle | None:
    """Why the pod does not start, in the words of the kubelet or the scheduler."""
    for container in [*(status.get("initContainerStatuses") or []), main]:
        waiting = container.get("state", {}).get("waiting") if container else None
        if waiting:
            named = _container_obstacle(container, waiting)
            if named:
                return named
    for condition in status.get("conditions") or []:
        if condition["type"] == "PodScheduled" and condition["status"] == "False":
            words = condition.get("message") or condition.get("reason") or ""
            return Obstacle(Reason.WAITING_FOR_PODS, words)
    return None


def _container_obstacle(container: Document, waiting: Document) -> Obstacle | None:
    reason, words = waiting.get("reason", ""), waiting.get("message", "")
    if reason in IMAGE_REASONS:
        image = container.get("image", "")
        why = _OF_BACKING_OFF.sub("", f"{reason}: {words}")
        return Obstacle(Reason.POD_REJECTED, f"image {image} cannot be pulled: {why}".rstrip(": "))
    if reason not in REFUSED_REASONS:
        return None
    secret = _SECRET.search(words)
    if secret:
        name = (secret["name"] or secret["keyed"]).rpartition("/")[2]
        return Obstacle(Reason.CREDENTIALS_MISSING, f"Secret {name}: {words}")
    return Obstacle(Reason.POD_REJECTED, f"{reason}: {words}")
