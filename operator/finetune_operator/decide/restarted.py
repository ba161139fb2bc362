"""What the end of an incarnation turned out to cost, known once the next one is there."""

from finetune_api.reasons import Reason
from finetune_api.status import Attempt, FineTuneJobStatus, PodsStatus

from finetune_operator.times import parse_time

NOT_STARTED = "NotStarted"
"""Outcome of an incarnation whose pods did not all run in time; uncounted."""


def lost_steps(last_step: int | None, resumed_from: int | None) -> int | None:
    """Steps that are done again when a run that did `last_step` goes on after `resumed_from`."""
    if last_step is None or resumed_from is None:
        return None
    return max(last_step - resumed_from, 0)


def with_costs(
    status: FineTuneJobStatus, pods: PodsStatus, resumed_from: int | None
) -> list[Attempt] | None:
    """status.attempts with what the newest ends cost.

    Args:
        pods: of the current incarnation, all running.
        resumed_from: step that it went on from; None until it says so.
    """
    if not status.attempts:
        return status.attempts
    attempts = _with_steps(status.attempts, resumed_from)
    return _with_seconds(attempts, pods)


def _with_steps(attempts: list[Attempt], resumed_from: int | None) -> list[Attempt]:
    """Those between the last that trained and this incarnation lost none."""
    trained = [place for place, each in enumerate(attempts) if each.last_step is not None]
    if resumed_from is None or not trained:
        return attempts
    last = attempts[trained[-1]]
    assert last.last_step is not None
    if resumed_from > last.last_step:
        return attempts  # pods that a queue let come again in this incarnation, not its first
    told = last.model_copy(update={"lost_steps": lost_steps(last.last_step, resumed_from)})
    return [told if each is last else each for each in attempts]


def _with_seconds(attempts: list[Attempt], pods: PodsStatus) -> list[Attempt]:
    """An end before pods that never started lasted until these run."""
    made = list(attempts)
    for place in reversed(range(len(made))):
        each = made[place]
        if each.restart_seconds is not None or each.reason == Reason.SUSPENDED:
            break
        ended, running = parse_time(each.ended_at), parse_time(pods.running_since)
        assert ended is not None
        assert running is not None
        seconds = max(int((running - ended).total_seconds()), 0)
        made[place] = each.model_copy(update={"restart_seconds": seconds})
        if place == 0 or made[place].outcome != NOT_STARTED:
            break
    return made
