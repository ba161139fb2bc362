"""How pods ended, and which of several ends is the cause."""

from dataclasses import replace
from datetime import datetime

from finetune_api.exits import Outcome, outcome_of
from finetune_api.messages import LaunchMessage, PrepareMessage, TerminationMessage, decode
from finetune_api.reasons import Reason

from finetune_operator.seen import Pod, PodEnd, PodPhase, Terminated

POD_LOST = "PodLost"
"""Uncounted: the pod was deleted, evicted or preempted, or its node lost."""
OOM_KILLED = "OOMKilled"
MAX_TAIL = 900

_REASON_OF_CODE = {
    Outcome.DONE: Reason.PUBLISHED,
    Outcome.OUT_OF_MEMORY: Reason.OUT_OF_MEMORY,
    Outcome.INTERRUPTED: Reason.INTERRUPTED,
}
"""Reasons of ends that came without a message; the rest are InternalError."""
_BELIEVED_OF_LOST_PODS = frozenset(
    {Outcome.DONE, Outcome.USER_ERROR, Outcome.OUT_OF_MEMORY, Outcome.INTERRUPTED}
)
"""What a pod may say while it is being deleted; other failures follow from the deletion."""


def judge(pod: Pod, now: datetime) -> PodEnd | None:
    """How a training pod ended; None while it lives."""
    ended = pod.terminated
    lost = pod.gone or pod.deleted_at is not None or pod.disrupted is not None
    message = decode(LaunchMessage, ended.text) if ended else None
    if ended and message and (not lost or message.outcome in _BELIEVED_OF_LOST_PODS):
        end = _told(pod, ended, message, now)
        return replace(end, last_step=message.last_step, checkpoint_step=message.checkpoint_step)
    if lost:
        return _lost(pod, now)
    if ended is None:
        return _never_ran(pod, now) if pod.phase is PodPhase.FAILED else None
    return _silent(pod, ended, now)


def judge_prepare(pod: Pod, now: datetime) -> PodEnd | None:
    """How a preparation pod ended; None while it lives or when it was disrupted."""
    ended = pod.terminated
    if ended is None:
        return None
    message = decode(PrepareMessage, ended.text)
    if message is not None:
        return _told(pod, ended, message, now)
    if pod.disrupted or pod.deleted_at or pod.gone:
        return None
    return _silent(pod, ended, now)


def choose_cause(ends: list[PodEnd]) -> PodEnd | None:
    """The end that explains the others; None when every pod did its work.

    A user's error first, then memory, then what ended first; a rank that only lost its peer
    explains nothing. Of two in the same second, one that ended by itself goes before one that
    was taken away.
    """
    failures = [end for end in ends if not end.done]
    return min(failures, key=_precedence, default=None)


def _precedence(end: PodEnd) -> tuple[int, datetime, bool, str]:
    if end.outcome == Outcome.USER_ERROR:
        place = 0
    elif end.outcome == Outcome.OUT_OF_MEMORY:
        place = 1
    else:
        place = 3 if end.reason is Reason.PEER_LOST else 2
    return place, end.at, end.outcome == POD_LOST, end.pod.name


def _told(pod: Pod, ended: Terminated, message: TerminationMessage, now: datetime) -> PodEnd:
    text = message.message if message.where is None else f"{message.where}: {message.message}"
    return PodEnd(pod, message.outcome, message.reason, text, ended.at or now, _code(ended))


def _silent(pod: Pod, ended: Terminated, now: datetime) -> PodEnd:
    outcome = Outcome.OUT_OF_MEMORY if ended.reason == OOM_KILLED else outcome_of(ended.exit_code)
    reason = _REASON_OF_CODE.get(outcome, Reason.INTERNAL_ERROR)
    words = pod.failure or ended.text[-MAX_TAIL:] or ended.reason
    return PodEnd(
        pod,
        outcome,
        reason,
        f"pod {pod.name} ended with code {ended.exit_code}: {words}",
        ended.at or now,
        _code(ended),
    )


def _lost(pod: Pod, now: datetime) -> PodEnd:
    words = pod.disrupted or pod.failure or "it was deleted"
    at = pod.deleted_at or (pod.terminated.at if pod.terminated else None) or now
    code = _code(pod.terminated) if pod.terminated else None
    return PodEnd(pod, POD_LOST, Reason.POD_LOST, f"pod {pod.name}: {words}", at, code)


def _never_ran(pod: Pod, now: datetime) -> PodEnd:
    words = pod.failure or "it failed before its container ran"
    return PodEnd(pod, POD_LOST, Reason.POD_LOST, f"pod {pod.name}: {words}", now)


def _code(ended: Terminated) -> int | None:
    return ended.exit_code if 0 <= ended.exit_code <= 255 else None
