"""The pods of the current incarnation, and whether any of them ended it."""

from datetime import datetime

from finetune_api.messages import LaunchMessage, decode
from finetune_api.reasons import Reason

from finetune_operator.backends.choice import backend_named
from finetune_operator.decide.decision import Moment
from finetune_operator.decide.ending import Ending
from finetune_operator.decide.outcome import POD_LOST, choose_cause, judge
from finetune_operator.seen import Finish, Pod, PodEnd, PodSet

CAUSE_SECONDS = 15.0
"""Time for the pod that failed first to say so, when the others only say that they lost it."""


def members_of(moment: Moment) -> list[Pod]:
    """The pods that count: those recorded, or before that the ones that are there.

    Before all pods exist no rendezvous was possible, so one that is replaced is no loss.
    """
    status = moment.status
    pods = _of_incarnation(moment)
    recorded = status.pods.pod_uids if status.pods else None
    if recorded is not None:
        return [pod for pod in pods if pod.uid in recorded]
    return [pod for pod in pods if not pod.gone and pod.deleted_at is None]


def _of_incarnation(moment: Moment) -> list[Pod]:
    incarnation = moment.status.incarnation
    return [pod for pod in moment.seen.train_pods if pod.incarnation == incarnation]


def ending_of(moment: Moment, pods: PodSet, members: list[Pod]) -> Ending | float | None:
    """How the incarnation ended; seconds to wait for a better answer; None while it lives."""
    # A set that failed before its pods were recorded may have lost them in the meantime.
    judged = members if members or pods.finish is None else _of_incarnation(moment)
    ends = [end for pod in judged if (end := judge(pod, moment.now))]
    cause = choose_cause(ends)
    if cause is not None:
        wait = _wait_for_cause(cause, ends, members, moment.now)
        return wait if wait is not None else Ending.of(cause)
    recorded = moment.status.pods.pod_uids if moment.status.pods else None
    missing = set(recorded or ()) - {pod.uid for pod in members}
    if missing:
        return Ending(POD_LOST, Reason.POD_LOST, f"{len(missing)} pods of {pods.name} are gone")
    silent = _silent_success(pods, ends)
    if silent is not None:
        return silent
    if pods.finish is Finish.FAILED:
        return Ending("Internal", Reason.INTERNAL_ERROR, f"{pods.name} failed: {pods.message}")
    if pods.finish is Finish.SUCCEEDED:
        words = f"{pods.name} succeeded but rank 0's message is not there to read"
        return Ending(POD_LOST, Reason.POD_LOST, words)
    return None


def _wait_for_cause(
    cause: PodEnd, ends: list[PodEnd], members: list[Pod], now: datetime
) -> float | None:
    if cause.reason is not Reason.PEER_LOST or len(ends) == len(members):
        return None
    left = CAUSE_SECONDS - (now - cause.at).total_seconds()
    return left if left > 0 else None


def _silent_success(pods: PodSet, ends: list[PodEnd]) -> Ending | None:
    """Rank 0 ended as done without a published result that fits: a fault of ours."""
    backend = backend_named(pods.backend)
    assert backend is not None
    for end in ends:
        text = end.pod.terminated.text if end.pod.terminated else ""
        message = decode(LaunchMessage, text)
        if backend.is_rank_zero(end.pod.name, pods.name) and end.done:
            words = "rank 0 ended with code 0 but published nothing"
            if message and message.output:
                words = "rank 0 published a result of another recipe"
            return Ending("Internal", Reason.INTERNAL_ERROR, words, end.pod.name, end.exit_code)
    return None
