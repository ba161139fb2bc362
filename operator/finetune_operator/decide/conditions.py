"""Builds the next status: conditions that keep their transition times, phases, attempts."""

from dataclasses import dataclass
from datetime import datetime
from typing import Any

from finetune_api.reasons import Reason
from finetune_api.status import Condition, ConditionStatus, ConditionType, FineTuneJobStatus, Phase

from finetune_operator.decide.decision import Moment
from finetune_operator.times import format_time

MAX_CONDITION_MESSAGE = 2048


@dataclass(frozen=True)
class Say:
    """What a condition is to say."""

    type: ConditionType
    value: bool | None
    """None means Unknown."""
    reason: Reason
    message: str = ""


def next_status(moment: Moment, phase: Phase, says: list[Say], **changes: Any) -> FineTuneJobStatus:
    """The status with `phase`, these conditions and these fields, of this generation.

    Suspended is False unless `says` speaks of it.
    """
    seen = moment.seen
    conditions = {c.type: c for c in seen.status.conditions}
    for say in [Say(ConditionType.SUSPENDED, False, Reason.NOT_SUSPENDED), *says]:
        old = next((c for c in seen.status.conditions if c.type == say.type), None)
        conditions[say.type] = _condition(say, old, seen.generation, moment.now)
    order = {kind: place for place, kind in enumerate(ConditionType)}
    return seen.status.model_copy(
        update={
            "phase": phase,
            "observed_generation": seen.generation,
            "conditions": sorted(conditions.values(), key=lambda c: order[ConditionType(c.type)]),
            **changes,
        }
    )


def _condition(say: Say, old: Condition | None, generation: int, now: datetime) -> Condition:
    values = {True: ConditionStatus.TRUE, False: ConditionStatus.FALSE}
    status = ConditionStatus.UNKNOWN if say.value is None else values[say.value]
    kept = old is not None and old.status == status
    return Condition(
        type=say.type,
        status=status,
        observed_generation=generation,
        last_transition_time=old.last_transition_time if kept and old else format_time(now),
        reason=say.reason,
        message=say.message[:MAX_CONDITION_MESSAGE],
    )


def condition_of(status: FineTuneJobStatus, kind: ConditionType) -> Condition | None:
    """The condition of a type."""
    return next((c for c in status.conditions if c.type == kind), None)


def is_true(status: FineTuneJobStatus, kind: ConditionType) -> bool:
    """Whether a condition is there and True."""
    found = condition_of(status, kind)
    return found is not None and found.status == ConditionStatus.TRUE


def reconciling(value: bool, reason: Reason, message: str = "") -> Say:
    """kstatus's Reconciling: true until the pods are launched."""
    return Say(ConditionType.RECONCILING, value, reason, message)


def not_stalled(moment: Moment, reason: Reason) -> list[Say]:
    """Takes back what a failed parent had said."""
    if condition_of(moment.status, ConditionType.STALLED) is None:
        return []
    return [Say(ConditionType.STALLED, False, reason)]


def complete(moment: Moment, reason: Reason, message: str, **changes: Any) -> FineTuneJobStatus:
    """The status of a job that reached its end."""
    says = [
        Say(ConditionType.COMPLETE, True, reason, message),
        Say(ConditionType.FINISHED, True, reason, message),
        reconciling(False, reason),
    ]
    changes = {"completion_time": format_time(moment.now), "retry_at": None, **changes}
    return next_status(moment, Phase.COMPLETE, says, **changes)


def failed(
    moment: Moment, reason: Reason, message: str, *more: Say, **changes: Any
) -> FineTuneJobStatus:
    """The status of a job that cannot go on."""
    says = [
        Say(ConditionType.FAILED, True, reason, message),
        Say(ConditionType.FINISHED, True, reason, message),
        Say(ConditionType.STALLED, True, reason, message),
        reconciling(False, reason),
        *more,
    ]
    changes = {"completion_time": format_time(moment.now), "retry_at": None, **changes}
    return next_status(moment, Phase.FAILED, says, **changes)
