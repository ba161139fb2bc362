"""Kubernetes events on the job for each change that people want to see; losing one is no harm."""

import hashlib
import logging
from datetime import UTC, datetime

import aiohttp
from finetune_api.job import API_VERSION, KIND
from finetune_api.reasons import Reason, remedy
from finetune_api.status import FineTuneJobStatus, Phase

from finetune_operator.client import ApiError, Client
from finetune_operator.kinds import EVENTS, Document
from finetune_operator.times import format_time

logger = logging.getLogger(__name__)

COMPONENT = "finetune-operator"
MAX_EVENT_MESSAGE = 1024
_NEED_SOMEBODY = frozenset(
    {
        Reason.CREDENTIALS_MISSING,
        Reason.POD_REJECTED,
        Reason.BACKEND_UNAVAILABLE,
        Reason.OPERATOR_OUTDATED,
        Reason.PARENT_FAILED,
    }
)
"""Reasons to wait for which somebody must do something; each is told when it appears."""


def event_for(
    job: Document, old: FineTuneJobStatus, new: FineTuneJobStatus, now: datetime
) -> Document | None:
    """The event of a change from `old` to `new`; None when nothing worth telling changed.

    The name follows from what is told, so that a repeated write makes the same event.
    """
    reason, message, normal = _words(new)
    needs_somebody = reason in _NEED_SOMEBODY and reason != _words(old)[0]
    if (old.phase, old.incarnation) == (new.phase, new.incarnation) and not needs_somebody:
        return None
    metadata = job["metadata"]
    told = f"{metadata['uid']}/{new.phase}/{new.incarnation}/{reason}"
    moment = format_time(now)
    return {
        "apiVersion": "v1",
        "kind": "Event",
        "metadata": {
            "name": f"{metadata['name']}.{hashlib.sha256(told.encode()).hexdigest()[:16]}",
            "namespace": metadata["namespace"],
        },
        "involvedObject": {
            "apiVersion": API_VERSION,
            "kind": KIND,
            "namespace": metadata["namespace"],
            "name": metadata["name"],
            "uid": metadata["uid"],
        },
        "type": "Normal" if normal else "Warning",
        "reason": reason,
        "message": message[:MAX_EVENT_MESSAGE],
        "source": {"component": COMPONENT},
        "reportingComponent": COMPONENT,
        "firstTimestamp": moment,
        "lastTimestamp": moment,
        "count": 1,
    }


def _words(status: FineTuneJobStatus) -> tuple[str, str, bool]:
    """(reason, message, whether it is normal) of a status."""
    for kind in ("Failed", "Complete", "Suspended", "Reconciling"):
        found = next((c for c in status.conditions if c.type == kind), None)
        if found is not None and (found.status == "True" or kind == "Reconciling"):
            bad = status.phase in {Phase.FAILED, Phase.RESTARTING}
            normal = not bad and found.reason not in _NEED_SOMEBODY
            return found.reason, found.message or _remedy(found.reason), normal
    return status.phase, f"phase {status.phase}", True


def _remedy(reason: str) -> str:
    return remedy(Reason(reason)) if reason in set(Reason) else f"the job is {reason}"


async def post(client: Client, event: Document) -> None:
    """Write the event, or log that it could not be written."""
    try:
        await client.create(EVENTS, event["metadata"]["namespace"], event)
    except ApiError as error:
        if not error.already_exists:
            logger.debug("event not written: %s", error)
    except (aiohttp.ClientError, TimeoutError) as error:
        logger.debug("event not written: %s", error)


def now_utc() -> datetime:
    """The wall clock."""
    return datetime.now(UTC)
