"""What happens after the end: nothing keeps running, and the TTL removes the children."""

from finetune_api.reasons import Reason
from finetune_api.status import TERMINAL_PHASES, ConditionType, FineTuneJobStatus

from finetune_operator.decide.conditions import condition_of
from finetune_operator.decide.decision import (
    Action,
    Decision,
    DeleteRunFiles,
    Moment,
    StopPods,
    StopPrepare,
)
from finetune_operator.times import seconds_since

SETTLE_SECONDS = 30.0
"""Time in which the backend notes by itself that a set of pods ended."""


def leave_deleted(moment: Moment) -> Decision | None:
    """A job that is being deleted is the garbage collector's."""
    return Decision("deleting", moment.status) if moment.seen.deleting else None


def clean_up(moment: Moment) -> Decision | None:
    """A finished job never starts again."""
    if moment.status.phase not in TERMINAL_PHASES:
        return None
    status = _at_generation(moment)
    age = seconds_since(moment.status.completion_time, moment.now)
    spec, seen = moment.seen.spec, moment.seen
    ttl = spec.ttl_seconds_after_finished if spec else None
    children = bool(seen.pod_sets or seen.prepare_job)
    if ttl is not None and age >= ttl:
        actions = _stop(moment, only_unfinished=False)
        # The run files go first: while a PyTorchJob or Job stands, the clean-up is not over.
        files: tuple[Action, ...] = (DeleteRunFiles(status.attempt),) if actions else ()
        return Decision("expired", status, files + actions)
    decision = Decision("finished", status)
    running = _stop(moment, only_unfinished=True)
    if running and (age >= SETTLE_SECONDS or _deadline_passed(moment)):
        decision = Decision("stop-finished", status, running)
    elif running:
        decision = decision.within(SETTLE_SECONDS - age)
    return decision.within(ttl - age) if ttl is not None and children else decision


def _at_generation(moment: Moment) -> FineTuneJobStatus:
    return moment.status.model_copy(update={"observed_generation": moment.seen.generation})


def _deadline_passed(moment: Moment) -> bool:
    end = condition_of(moment.status, ConditionType.FAILED)
    return end is not None and end.reason == Reason.DEADLINE_EXCEEDED


def _stop(moment: Moment, *, only_unfinished: bool) -> tuple[Action, ...]:
    seen = moment.seen
    actions: list[Action] = [
        StopPods.of(pods)
        for pods in seen.pod_sets
        if pods.deleted_at is None and not (only_unfinished and pods.finish)
    ]
    job = seen.prepare_job
    if job and job.deleted_at is None and not (only_unfinished and job.finish):
        actions.append(StopPrepare(job.name, job.uid))
    return tuple(actions)
