"""How a pod ended, from how its ranks ended: an ordered chain of pure rules."""

import signal
from collections.abc import Sequence

from finetune_api.exits import Outcome
from finetune_api.messages import LaunchMessage
from finetune_api.reasons import Reason

from finetune_trainer.launch.results import RankEnd
from finetune_trainer.pulse import Beat


def verdict(
    ends: Sequence[RankEnd],
    *,
    asked_to_stop: bool,
    out_of_memory: bool,
    hang: LaunchMessage | None = None,
) -> LaunchMessage:
    """The pod's termination message.

    A result that says Done is success, whatever the process did after it. Else a rank that knows
    its error speaks before one that died silently, and both before those that only lost a peer:
    they are the consequence.

    Args:
        asked_to_stop: this pod got SIGTERM.
        out_of_memory: the kernel killed a process of this pod for memory.
        hang: what is to be said of the ranks that were ended because they did not get on.
    """
    told = sorted(
        (end for end in ends if end.message is not None), key=lambda end: (end.ended_at, end.rank)
    )
    messages = [end.message for end in told if end.message is not None]
    done = [m for m in messages if m.outcome is Outcome.DONE]
    if done:
        return next((m for m in done if m.output or m.evaluation), done[0])
    stopped = [m for m in messages if m.outcome is Outcome.INTERRUPTED]
    lost = [m for m in messages if m.reason is Reason.PEER_LOST]
    causes = [m for m in messages if m not in stopped and m not in lost]
    if causes:
        return causes[0]
    if hang is not None:
        return hang
    silent = next((end for end in ends if end.message is None and end.exit_code), None)
    if out_of_memory and not stopped:
        return _out_of_memory(silent)
    if stopped:  # all at the same step, but rank 0 alone knows what is saved
        return next((m for m in stopped if m.checkpoint_step is not None), stopped[0])
    if asked_to_stop:
        return LaunchMessage(
            outcome=Outcome.INTERRUPTED,
            reason=Reason.INTERRUPTED,
            message="asked to stop; the run goes on from its last checkpoint",
        )
    if silent is not None:
        return _died_silently(silent)
    if lost:
        return lost[0]
    return _internal("the training processes ended without a result")


def with_steps(message: LaunchMessage, beats: Sequence[Beat]) -> LaunchMessage:
    """The message with the steps that the ranks of this pod knew of, where it names none: a
    process that was killed wrote nothing else."""
    if message.outcome is Outcome.DONE:
        return message
    update: dict[str, int] = {}
    known = {
        "last_step": [beat.last_step for beat in beats],
        "checkpoint_step": [beat.checkpoint_step for beat in beats if beat.rank == 0],
    }
    for name, values in known.items():
        told = [value for value in values if value is not None]
        if told and getattr(message, name) is None:
            update[name] = max(told)
    return message.model_copy(update=update)


def _out_of_memory(silent: RankEnd | None) -> LaunchMessage:
    who = "a process" if silent is None else f"rank {silent.rank}"
    return LaunchMessage(
        outcome=Outcome.OUT_OF_MEMORY,
        reason=Reason.OUT_OF_MEMORY,
        message=f"{who} was killed because the pod used up its memory limit "
        "(workers.resources.limits.memory)",
    )


def _died_silently(end: RankEnd) -> LaunchMessage:
    code = end.exit_code or 0
    if code < 0:
        try:
            name = signal.Signals(-code).name
        except ValueError:
            name = f"signal {-code}"
        return _internal(f"rank {end.rank} was killed by {name}")
    return _internal(f"rank {end.rank} ended with code {code} and no result")


def _internal(text: str) -> LaunchMessage:
    return LaunchMessage(outcome=Outcome.INTERNAL, reason=Reason.INTERNAL_ERROR, message=text)
