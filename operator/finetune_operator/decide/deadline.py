"""activeDeadlineSeconds, from the first start of work."""

from finetune_api.reasons import Reason

from finetune_operator.decide.conditions import failed
from finetune_operator.decide.decision import Decision, Moment
from finetune_operator.decide.explain import explained
from finetune_operator.times import seconds_since


def seconds_left(moment: Moment) -> float | None:
    """Seconds until the deadline; None without one or before the start."""
    spec, start = moment.seen.spec, moment.status.start_time
    if spec is None or spec.active_deadline_seconds is None or start is None:
        return None
    return spec.active_deadline_seconds - seconds_since(start, moment.now)


def end_at_deadline(moment: Moment) -> Decision | None:
    """Fail a job whose time is over."""
    left = seconds_left(moment)
    if left is None or left > 0:
        return None
    spec = moment.seen.spec
    assert spec is not None
    message = (
        f"activeDeadlineSeconds ({spec.active_deadline_seconds}) passed since "
        f"{moment.status.start_time} in phase {moment.status.phase}"
    )
    words = explained(message, Reason.DEADLINE_EXCEEDED)
    return Decision("failed", failed(moment, Reason.DEADLINE_EXCEEDED, words))
