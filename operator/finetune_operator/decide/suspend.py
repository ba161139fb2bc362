"""The user's wish to pause: pods checkpoint on SIGTERM, then all of them are gone."""

from finetune_api.exits import Outcome
from finetune_api.reasons import Reason
from finetune_api.status import ConditionType, Phase

from finetune_operator.decide.conditions import Say, next_status, not_stalled, reconciling
from finetune_operator.decide.decision import Action, Decision, Moment, StopPods, StopPrepare
from finetune_operator.decide.ending import Ending, attempts_with, has_ended, still_there

_STOPPING = "pods save a checkpoint and end"
_SUSPENDED = "set spec.suspend to false to go on from the last checkpoint"


def suspend(moment: Moment) -> Decision | None:
    """Stop what runs; Suspended is True once no pod is left."""
    spec, seen = moment.seen.spec, moment.seen
    assert spec is not None
    if not spec.suspend:
        return None
    changes: dict[str, object] = {"retry_at": None}
    if not has_ended(moment.status) and (
        moment.status.pods is not None or seen.pod_set(moment.status.incarnation)
    ):
        ending = Ending(Outcome.INTERRUPTED, Reason.SUSPENDED, "spec.suspend was set to true")
        changes |= {"attempts": attempts_with(moment, ending), "pods": None}
    # Whom it waited for does not matter meanwhile.
    calm = [
        Say(ConditionType.ACCEPTED, True, Reason.ACCEPTED),
        *not_stalled(moment, Reason.SUSPENDED),
    ]
    actions = _stops(moment)
    preparing = _preparing(moment)
    wait = still_there(moment)
    if actions or preparing or wait is not None:
        says = [
            Say(ConditionType.SUSPENDED, False, Reason.STOPPING, _STOPPING),
            reconciling(True, Reason.STOPPING, _STOPPING),
            *calm,
        ]
        status = next_status(moment, moment.status.phase, says, **changes)
        decision = Decision("suspending", status, actions, confirm="attempts" in changes)
        return decision if wait is None else decision.until_gone(wait)
    says = [
        Say(ConditionType.SUSPENDED, True, Reason.SUSPENDED, _SUSPENDED),
        reconciling(False, Reason.SUSPENDED),
        *calm,
    ]
    return Decision("suspended", next_status(moment, Phase.SUSPENDED, says, **changes))


def _preparing(moment: Moment) -> bool:
    job = moment.seen.prepare_job
    if job is not None and job.finish is None:
        return True
    return job is None and any(pod.active for pod in moment.seen.prepare_pods)


def _stops(moment: Moment) -> tuple[Action, ...]:
    seen = moment.seen
    actions: list[Action] = [StopPods.of(pods) for pods in seen.pod_sets if pods.deleted_at is None]
    job = seen.prepare_job
    if job and job.finish is None and job.deleted_at is None:
        actions.append(StopPrepare(job.name, job.uid))
    return tuple(actions)
