"""The jobs whose results a job starts from: waited for, checked, and pinned once complete."""

from collections.abc import Iterator

from finetune_api.lineage import WIRE_BLOCKS, run_folder
from finetune_api.reasons import Reason, remedy
from finetune_api.spec import FineTuneJobSpec, Method
from finetune_api.status import (
    ConditionType,
    FineTuneJobStatus,
    ParentRole,
    ParentStatus,
    Phase,
)

from finetune_operator.decide.accept import refused
from finetune_operator.decide.conditions import Say, next_status, not_stalled, reconciling
from finetune_operator.decide.decision import Decision, Moment
from finetune_operator.decide.explain import explained
from finetune_operator.seen import Parent, ParentJob


def await_parents(moment: Moment) -> Decision | None:
    """Wait until each job that the spec names is complete, then pin them all in the status."""
    parents = moment.seen.parents
    if not parents:
        return None
    if moment.seen.cycle:
        words = f"jobs wait for each other: {' -> '.join(moment.seen.cycle)}"
        return refused(moment, Reason.PARENT_CYCLE, words)
    spec = moment.seen.spec
    assert spec is not None
    misfits = [words for parent in parents for words in _misfits(spec, parent)]
    if misfits:
        return refused(moment, Reason.INVALID_SPEC, "; ".join(misfits))
    pins = [pin for parent in parents if (pin := _pin(parent)) is not None]
    if len(pins) < len(parents):
        return Decision("awaiting-parent", _awaiting(moment, parents))
    says = [
        Say(ConditionType.ACCEPTED, True, Reason.ACCEPTED),
        reconciling(True, Reason.PREPARING, remedy(Reason.PREPARING)),
        *not_stalled(moment, Reason.ACCEPTED),
    ]
    pinned = next_status(moment, Phase.PENDING, says, parents=pins)
    # Read anew: a job that was deleted and applied again is another one.
    return Decision("parents-pinned", pinned, requeue_after=0.0, confirm=True)


def _misfits(spec: FineTuneJobSpec, parent: Parent) -> Iterator[str]:
    """Why the job can never be what `spec` wants it for; specs do not change."""
    job, where = parent.job, f"spec.{WIRE_BLOCKS[parent.role]}.fromJob"
    if job is None or job.deleting:
        return
    named = f"{where}: FineTuneJob {parent.name}"
    if parent.role is ParentRole.MODEL and job.method == Method.REWARD:
        yield f"{named} makes a reward model, which writes nothing: name it in rewardModel"
    if parent.role is ParentRole.REWARD_MODEL and job.method != Method.REWARD:
        yield f"{named} is of method {job.method}: name one of method Reward"
    if job.stop_after is not None:
        yield f"{named} ends after stopAfter {job.stop_after} and publishes nothing"
    theirs, ours = _endpoint(job.endpoint), _endpoint(spec.storage.endpoint)
    if theirs != ours:
        yield (
            f"{named} publishes to the store at {theirs}, and this job reads from {ours}: give "
            "both the same storage.endpoint"
        )


def _endpoint(endpoint: str | None) -> str:
    return endpoint.rstrip("/") if endpoint else "AWS"


def _pin(parent: Parent) -> ParentStatus | None:
    """What the status keeps of a parent that is complete."""
    job = parent.job
    if job is None or job.deleting or job.phase != Phase.COMPLETE or job.output is None:
        return None
    return ParentStatus(
        role=parent.role,
        name=parent.name,
        uid=job.uid,
        uri=run_folder(job.output),
        manifest_sha256=job.output.manifest_sha256,
    )


def _awaiting(moment: Moment, parents: tuple[Parent, ...]) -> FineTuneJobStatus:
    waiting = [parent for parent in parents if _pin(parent) is None]
    broken = any(parent.job is not None and parent.job.failure for parent in waiting)
    absent = any(parent.job is None or parent.job.deleting for parent in waiting)
    reason = Reason.PARENT_FAILED if broken else Reason.WAITING_FOR_PARENT
    words = "; ".join(f"FineTuneJob {parent.name} {_state(parent.job)}" for parent in waiting)
    if broken or absent:
        words = explained(words, reason)
    stalled = not_stalled(moment, reason)
    if broken:
        stalled = [Say(ConditionType.STALLED, True, reason, words)]
    says = [
        Say(ConditionType.ACCEPTED, True, reason, words),
        # Who waits for a job at work is where it should be; GitOps need not wait with it.
        reconciling(absent and not broken, reason, words),
        *stalled,
    ]
    return next_status(moment, Phase.PENDING, says)


def _state(job: ParentJob | None) -> str:
    if job is None:
        return "does not exist"
    if job.deleting:
        return "is being deleted"
    if job.failure:
        return f"failed ({job.failure.rstrip('.')})"
    if job.phase == Phase.SUSPENDED:
        return "is Suspended: set its spec.suspend to false"
    return f"is {job.phase}"
