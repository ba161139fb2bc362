"""The end of an incarnation: what is noted, what it costs, and when the next may start."""

from dataclasses import dataclass
from datetime import timedelta

from finetune_api.exits import Outcome, is_counted
from finetune_api.reasons import Reason
from finetune_api.spec import CHOSEN_MICRO_BATCH_TOKENS
from finetune_api.status import MAX_ATTEMPTS_KEPT, Attempt, FineTuneJobStatus, Phase

from finetune_operator.decide.conditions import failed, next_status, reconciling
from finetune_operator.decide.decision import Action, Decision, Moment, StopPods
from finetune_operator.decide.explain import explained
from finetune_operator.decide.restarted import NOT_STARTED, lost_steps
from finetune_operator.seen import PodEnd
from finetune_operator.times import format_time, parse_time, seconds_since

MAX_RETRY_SECONDS = 300.0
SHORT_SECONDS = 60.0
"""An incarnation that ended sooner did not get far; several in a row are slowed down."""
MIN_MICRO_BATCH_TOKENS = 16
MAX_TEXT = 1024


@dataclass(frozen=True)
class Ending:
    """How an incarnation ended."""

    outcome: str
    reason: Reason
    message: str
    pod: str | None = None
    exit_code: int | None = None
    last_step: int | None = None
    checkpoint_step: int | None = None

    @classmethod
    def of(cls, end: PodEnd) -> "Ending":
        """The pod's end as the incarnation's."""
        return cls(
            end.outcome,
            end.reason,
            end.message,
            end.pod.name,
            end.exit_code,
            end.last_step,
            end.checkpoint_step,
        )

    @property
    def counted(self) -> bool:
        """Whether it uses up one of restarts.max."""
        return self.outcome in set(Outcome) and is_counted(Outcome(self.outcome))


def has_ended(status: FineTuneJobStatus) -> bool:
    """Whether the newest incarnation's end is noted."""
    attempts = status.attempts or []
    return bool(attempts) and attempts[-1].incarnation == status.incarnation


def attempts_with(moment: Moment, ending: Ending) -> list[Attempt]:
    """status.attempts with this end added."""
    status = moment.status
    step = ending.last_step
    if step is None and status.progress and status.progress.resumed_from_step is not None:
        step = status.progress.step
    pods = moment.seen.pod_set(status.incarnation)
    entry = Attempt(
        attempt=status.attempt,
        incarnation=status.incarnation,
        outcome=ending.outcome,
        reason=ending.reason,
        message=ending.message[:MAX_TEXT],
        pod=ending.pod,
        exit_code=ending.exit_code,
        last_step=step,
        lost_steps=lost_steps(ending.last_step, ending.checkpoint_step),
        started_at=format_time(pods.created) if pods else None,
        ended_at=format_time(moment.now),
    )
    return [*(status.attempts or []), entry][-MAX_ATTEMPTS_KEPT:]


def end_incarnation(moment: Moment, ending: Ending) -> Decision:
    """Note the end first; what still stands is stopped by the status that says so."""
    spec, status = moment.seen.spec, moment.status
    assert spec is not None
    changes: dict[str, object] = {"attempts": attempts_with(moment, ending), "pods": None}
    if ending.outcome == Outcome.USER_ERROR:
        words = explained(ending.message, ending.reason)
        return Decision("failed", failed(moment, ending.reason, words, **changes), confirm=True)
    counted = status.counted_failures + (1 if ending.counted else 0)
    changes["counted_failures"] = counted
    if counted > spec.restarts.max and ending.counted:
        message = (
            f"attempt {status.attempt} was the last of {spec.restarts.max + 1}: "
            f"{ending.reason}: {ending.message}"
        )
        words = explained(message, ending.reason, Reason.RESTARTS_EXHAUSTED)
        exhausted = failed(moment, Reason.RESTARTS_EXHAUSTED, words, **changes)
        return Decision("failed", exhausted, confirm=True)
    if ending.outcome == Outcome.OUT_OF_MEMORY:
        changes["micro_batch_tokens"] = _halved(moment)
    changes["retry_at"] = _retry_at(moment, ending, counted)
    reason = ending.reason if ending.outcome == NOT_STARTED else Reason.RESTARTING
    message = f"incarnation {status.incarnation} ended: {ending.reason}: {ending.message}"
    says = [reconciling(True, reason, explained(message, ending.reason))]
    actions = tuple(_stop_all(moment))
    restarting = next_status(moment, Phase.RESTARTING, says, **changes)
    return Decision("ended", restarting, actions, requeue_after=0.0, confirm=True)


def wait_or_stop(moment: Moment) -> Decision | None:
    """After a noted end: delete what stands, wait for no pods and for the retry time."""
    actions = tuple(_stop_all(moment))
    if actions:
        return Decision("stop", moment.status, actions, requeue_after=1.0)
    there_for = still_there(moment)
    if there_for is not None:
        return Decision("wait", moment.status).until_gone(there_for)
    wait = -seconds_since(moment.status.retry_at, moment.now)
    return Decision("wait", moment.status).within(wait) if wait > 0 else None


def still_there(moment: Moment) -> float | None:
    """Seconds to wait at most for what is being deleted; None when nothing is in the way.

    A lost node's pods hang for ever: after their grace period and a minute they no longer count,
    since the conditional pointer in the bucket fences them.
    """
    seen = moment.seen
    pods = [pod for pod in seen.train_pods if not pod.gone]
    if not pods and not seen.pod_sets:
        return None
    times = [pod_set.deleted_at for pod_set in seen.pod_sets] + [pod.deleted_at for pod in pods]
    if moment.status.attempts:
        times.append(parse_time(moment.status.attempts[-1].ended_at))
    latest = max((t for t in times if t is not None), default=None)
    if latest is None:
        return moment.spec_grace
    left = moment.spec_grace - (moment.now - latest).total_seconds()
    return left if left > 0 else None


def _stop_all(moment: Moment) -> list[Action]:
    return [StopPods.of(pods) for pods in moment.seen.pod_sets if pods.deleted_at is None]


def _halved(moment: Moment) -> int:
    spec = moment.seen.spec
    assert spec is not None
    training = spec.training
    tokens = (
        moment.status.micro_batch_tokens
        or training.micro_batch_tokens
        or min(training.sequence_length, CHOSEN_MICRO_BATCH_TOKENS)
    )
    return max(tokens // 2, MIN_MICRO_BATCH_TOKENS)


def _retry_at(moment: Moment, ending: Ending, counted: int) -> str | None:
    base = moment.seen.retry_seconds
    if ending.outcome == Outcome.OUT_OF_MEMORY:
        doublings = -1
    elif ending.counted:
        doublings = counted - 1
    elif ending.outcome == NOT_STARTED:
        doublings = _short_in_a_row(moment)
    else:
        doublings = _short_in_a_row(moment) - 1
    if doublings < 0:
        return None
    delay = min(base * 2.0**doublings, MAX_RETRY_SECONDS)
    return format_time(moment.now + timedelta(seconds=delay + 0.999))


def _short_in_a_row(moment: Moment) -> int:
    """Uncounted incarnations just before this one that did not get far."""
    count = 0
    for attempt in reversed(moment.status.attempts or []):
        began, ended = parse_time(attempt.started_at), parse_time(attempt.ended_at)
        assert ended is not None
        short = began is None or (ended - began).total_seconds() < SHORT_SECONDS
        uncounted = attempt.outcome in {NOT_STARTED, "PodLost", Outcome.INTERRUPTED}
        by_wish = attempt.reason == Reason.SUSPENDED
        if by_wish or not uncounted or not (short or attempt.outcome == NOT_STARTED):
            break
        count += 1
    return count
