"""Accepted, or refused for a rule that the spec breaks."""

from dataclasses import replace

from finetune_api.reasons import Reason
from finetune_api.resolve import effective, resolve
from finetune_api.status import TERMINAL_PHASES, ConditionType, Phase

from finetune_operator.decide.conditions import Say, failed, is_true, next_status
from finetune_operator.decide.decision import CheckPods, Decision, Moment
from finetune_operator.decide.explain import explained

OUTDATED_SECONDS = 60.0


def leave_newer(moment: Moment) -> Decision | None:
    """While a chart is upgraded the new CRD is there before the new operator: its jobs, and the
    defaults that it puts into running ones, are not for this operator to judge."""
    if not moment.seen.newer:
        return None
    status = moment.status
    if status.effective is None:
        words = explained(moment.seen.invalid, Reason.OPERATOR_OUTDATED)
        say = Say(ConditionType.ACCEPTED, None, Reason.OPERATOR_OUTDATED, words)
        status = next_status(moment, Phase.PENDING, [say])
    return Decision("outdated", status).within(OUTDATED_SECONDS)


def refuse_invalid(moment: Moment) -> Decision | None:
    """The CRD catches nearly all of these; a job from before an upgrade may still break a rule."""
    if moment.seen.spec is not None:
        return None
    return refused(moment, Reason.INVALID_SPEC, moment.seen.invalid)


def check_pods(moment: Moment) -> Decision | None:
    """Kubernetes' own parts of the spec (affinity, tolerations, resources) only the API server can
    judge: it is asked before the job is accepted, not when its data is ready."""
    seen, status = moment.seen, moment.status
    if seen.spec is None or seen.pods_checked or status.effective is not None:
        return None
    if status.phase in TERMINAL_PHASES:
        return None
    return Decision("check-pods", status, (CheckPods(),), requeue_after=0.0)


def refuse_unfit(moment: Moment) -> Decision | None:
    """The API server will never take a child of this spec, which cannot change."""
    obstacle = moment.seen.obstacle
    if obstacle is None or obstacle.reason is not Reason.INVALID_SPEC:
        return None
    return refused(moment, Reason.INVALID_SPEC, obstacle.message)


def refused(moment: Moment, reason: Reason, problem: str) -> Decision:
    """The end of a job that is not accepted."""
    words = explained(problem, reason)
    say = Say(ConditionType.ACCEPTED, False, reason, words)
    return Decision("failed", failed(moment, reason, words, say))


def accepted(moment: Moment) -> Moment:
    """The moment with Accepted True and the effective settings; other checks write it."""
    spec = moment.seen.spec
    assert spec is not None
    if moment.status.effective is not None and is_true(moment.status, ConditionType.ACCEPTED):
        return moment
    say = Say(ConditionType.ACCEPTED, True, Reason.ACCEPTED)
    status = next_status(moment, Phase.PENDING, [say], effective=effective(resolve(spec)))
    return replace(moment, seen=replace(moment.seen, status=status))
