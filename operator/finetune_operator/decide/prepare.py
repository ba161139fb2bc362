"""The preparation on CPUs: start it, name what is in its way, take its result."""

from dataclasses import replace
from typing import Any

from finetune_api.exits import Outcome
from finetune_api.messages import PrepareMessage, decode
from finetune_api.progress import Stage
from finetune_api.reasons import Reason, remedy
from finetune_api.spec import StopAfter
from finetune_api.status import ConditionType, FineTuneJobStatus, Phase

from finetune_operator.decide.conditions import Say, complete, failed, next_status, reconciling
from finetune_operator.decide.decision import CreatePrepare, Decision, Moment, StopPrepare
from finetune_operator.decide.explain import explained
from finetune_operator.decide.outcome import judge_prepare
from finetune_operator.decide.uncreated import CREATION_SECONDS, uncreated
from finetune_operator.seen import Finish, Obstacle, Pod, PodEnd
from finetune_operator.times import format_time


def take_result(moment: Moment) -> Decision | None:
    """A preparation that ended well or by the user's mistake, even while a suspension waits."""
    if moment.status.prepared is not None:
        return None
    for end in _ends(moment):
        if end.done:
            return _done(moment, end)
        if end.outcome == Outcome.USER_ERROR:
            words = explained(end.message, end.reason)
            return Decision("failed", _failed(moment, end.reason, words, end))
    return None


def prepare(moment: Moment) -> Decision | None:
    """Everything until the data is ready."""
    if moment.status.prepared is not None:
        return None
    job = moment.seen.prepare_job
    if job is None:
        return Decision("preparing", _preparing(moment), (CreatePrepare(),))
    if job.deleted_at is not None:
        return Decision("preparing", _preparing(moment)).until_gone(moment.spec_grace)
    if job.finish is Finish.FAILED:
        return Decision("failed", _given_up(moment, job.message))
    if job.finish is Finish.SUCCEEDED:
        # The pod was deleted before its message was read: prepared data is found again quickly.
        again = (StopPrepare(job.name, job.uid),)
        waiting = any(p.active or p.terminated is None for p in _present(moment))
        return Decision(
            "prepare-again", _preparing(moment), () if waiting else again, 5.0, confirm=True
        )
    decision = Decision("preparing", _preparing(moment))
    return decision if moment.seen.prepare_pods else decision.within(CREATION_SECONDS)


def _present(moment: Moment) -> list[Pod]:
    return [pod for pod in moment.seen.prepare_pods if not pod.gone]


def _ends(moment: Moment) -> list[PodEnd]:
    """Ends of the preparation's pods, newest first."""
    judged = (judge_prepare(pod, moment.now) for pod in moment.seen.prepare_pods)
    return sorted((end for end in judged if end), key=lambda end: end.at, reverse=True)


def _done(moment: Moment, end: PodEnd) -> Decision:
    text = end.pod.terminated.text if end.pod.terminated else ""
    message = decode(PrepareMessage, text)
    if message is None or (message.prepared is None and message.adopted is None):
        words = "the preparation ended with code 0 but did not say where its data lies"
        words = explained(words, Reason.INTERNAL_ERROR)
        return Decision("failed", _failed(moment, Reason.INTERNAL_ERROR, words, end))
    changes: dict[str, Any] = {
        "prepared": message.prepared,
        "data": message.data,
        "progress": None,  # training begins anew
    }
    if message.adapter is not None and moment.status.effective is not None:
        update = {"adapter": message.adapter}
        changes["effective"] = moment.status.effective.model_copy(update=update)
    ready = Say(ConditionType.DATA_READY, True, Reason.DATA_READY, message.message)
    if message.adopted is not None:
        status = next_status(moment, moment.status.phase, [ready], **changes)
        moment = replace(moment, seen=replace(moment.seen, status=status))
        status = complete(
            moment,
            Reason.ALREADY_PUBLISHED,
            remedy(Reason.ALREADY_PUBLISHED),
            output=message.adopted,
            evaluation=message.adopted_evaluation,
        )
        return Decision("complete", status)
    spec = moment.seen.spec
    if spec is not None and spec.stop_after is StopAfter.DATA:
        status = next_status(moment, moment.status.phase, [ready], **changes)
        moment = replace(moment, seen=replace(moment.seen, status=status))
        reason = Reason.DATA_PREPARED
        return Decision("complete", complete(moment, reason, remedy(reason)))
    waiting = reconciling(True, Reason.WAITING_FOR_PODS, "the training pods come next")
    return Decision("prepared", next_status(moment, Phase.QUEUED, [ready, waiting], **changes))


def _preparing(moment: Moment) -> FineTuneJobStatus:
    found = _obstacle(moment)
    reason = found.reason if found else Reason.PREPARING
    words = found.message if found else remedy(Reason.PREPARING)
    if found and found.reason is not Reason.PREPARING:
        words = explained(words, found.reason)
    says = [
        Say(ConditionType.DATA_READY, None, reason, words),
        reconciling(True, reason, words),
    ]
    start = moment.status.start_time or format_time(moment.now)
    told = moment.seen.progress
    progress = told if told and told.stage is Stage.PREPARING else moment.status.progress
    return next_status(moment, Phase.PREPARING, says, start_time=start, progress=progress)


def _obstacle(moment: Moment) -> Obstacle | None:
    """What keeps the preparation from running, the most telling first."""
    seen = moment.seen
    if seen.prepare_job is None:
        return seen.obstacle
    if seen.prepare_job.suspended:
        return Obstacle(Reason.WAITING_FOR_QUOTA, "a queue holds the preparation")
    if not seen.prepare_pods:
        job = seen.prepare_job
        waited = (moment.now - job.started).total_seconds() if job.started else 0.0
        return uncreated("Job", job.name, waited)
    waiting = [pod.waiting_for for pod in seen.prepare_pods if pod.active and pod.waiting_for]
    if waiting:
        return min(waiting, key=lambda o: o.reason is Reason.WAITING_FOR_PODS)
    running = any(pod.active and pod.started for pod in seen.prepare_pods)
    ends = _ends(moment)
    if ends and not running:
        last = ends[0]
        words = explained(f"tried again after {last.reason}: {last.message}", last.reason)
        return Obstacle(Reason.PREPARING, words)
    return None


def _given_up(moment: Moment, words: str) -> FineTuneJobStatus:
    ends = _ends(moment)
    if not ends:
        message = explained(f"the preparation failed: {words}", Reason.RESTARTS_EXHAUSTED)
        return _failed(moment, Reason.RESTARTS_EXHAUSTED, message, None)
    last = ends[0]
    message = explained(
        f"the preparation failed, last by {last.reason}: {last.message}",
        last.reason,
        Reason.RESTARTS_EXHAUSTED,
    )
    return _failed(moment, Reason.RESTARTS_EXHAUSTED, message, last)


def _failed(moment: Moment, reason: Reason, message: str, end: PodEnd | None) -> FineTuneJobStatus:
    text = end.pod.terminated.text if end and end.pod.terminated else ""
    told = decode(PrepareMessage, text)
    not_ready = Say(ConditionType.DATA_READY, False, end.reason if end else reason, message)
    changes = {"data": told.data} if told and told.data else {}
    return failed(moment, reason, message, not_ready, **changes)
