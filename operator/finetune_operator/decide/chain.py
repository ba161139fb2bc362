"""The decision about one job: an ordered chain of small checks; the first that speaks decides."""

from dataclasses import replace
from datetime import datetime

from finetune_operator.decide import prepare, success
from finetune_operator.decide.accept import (
    accepted,
    check_pods,
    leave_newer,
    refuse_invalid,
    refuse_unfit,
)
from finetune_operator.decide.after_end import clean_up, leave_deleted
from finetune_operator.decide.deadline import end_at_deadline, seconds_left
from finetune_operator.decide.decision import Decision, Moment
from finetune_operator.decide.parents import await_parents
from finetune_operator.decide.suspend import suspend
from finetune_operator.decide.train import train
from finetune_operator.seen import Seen

WITHOUT_STATUS = (leave_deleted, check_pods)
"""Leave the status as it is."""
BEFORE_ACCEPTANCE = (clean_up, leave_newer, refuse_invalid, refuse_unfit)
IN_LIFE = (
    success.take_result,
    end_at_deadline,
    prepare.take_result,
    suspend,
    await_parents,
    prepare.prepare,
)


def decide(seen: Seen, now: datetime) -> Decision:
    """What to do about a job. Pure."""
    moment = Moment(seen, now)
    for check in WITHOUT_STATUS:
        quiet = check(moment)
        if quiet is not None:
            return quiet
    decision = _first(moment)
    status = decision.status.model_copy(update={"observed_generation": seen.generation})
    left = seconds_left(replace(moment, seen=replace(seen, status=status)))
    if left is not None and left > 0 and status.completion_time is None:
        decision = decision.within(left + 1)
    return replace(decision, status=status)


def _first(moment: Moment) -> Decision:
    for check in BEFORE_ACCEPTANCE:
        decision = check(moment)
        if decision is not None:
            return decision
    moment = accepted(moment)
    for check in IN_LIFE:
        decision = check(moment)
        if decision is not None:
            return decision
    return train(moment)
