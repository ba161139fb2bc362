"""Ends the ranks of this pod when none of them gets on (restarts.stepDeadlineSeconds)."""

import logging
import os
import signal
import threading
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from finetune_api.exits import Outcome
from finetune_api.messages import LaunchMessage
from finetune_api.reasons import Reason

from finetune_trainer.launch.stacks import ask_for_stacks, innermost
from finetune_trainer.pulse import Beat, read_beats, stack_path

_LOOKS = 20
"""Looks within a deadline, so that it is overrun by a twentieth at most."""
_LONGEST_TICK = 10.0
_SLEPT = 5
"""A look that comes so many ticks late means that the pod was frozen, its ranks with it."""
_RANKS_NAMED = 4

log = logging.getLogger("finetune")


@dataclass(frozen=True)
class Silence:
    """A rank of a hung run."""

    beat: Beat
    seconds: int
    """Since it last finished a piece of work."""
    line: str | None = None
    """Where it stands in the code."""

    def __str__(self) -> str:
        where = f", at {self.line}" if self.line else ""
        return f"rank {self.beat.rank} for {self.seconds} s{where}"


@dataclass(frozen=True)
class Hang:
    """A run that does not get on."""

    deadline_seconds: int
    silences: tuple[Silence, ...]
    """As `suspects_first` orders them."""

    def message(self) -> LaunchMessage:
        """How the pod ends."""
        first = self.silences[0].beat
        step = max((s.beat.last_step or 0 for s in self.silences), default=0)
        ranks = "; ".join(map(str, self.silences[:_RANKS_NAMED]))
        more = len(self.silences) - _RANKS_NAMED
        return LaunchMessage(
            outcome=Outcome.INFRASTRUCTURE,
            reason=Reason.HANG,
            message=(
                f"nothing was finished within restarts.stepDeadlineSeconds "
                f"({self.deadline_seconds}): {ranks}{f'; and {more} more' if more > 0 else ''}; "
                "the pod's log has their stacks"
            ),
            where=f"stage {first.stage}, after step {step}",
        )


def silences(beats: Sequence[Beat], now: float, deadline_seconds: float) -> list[Silence]:
    """The ranks that hang, the longest first; none while any of those that work gets on.

    A rank may wait for one that works, so that all of them must be silent for so long. One that
    rests waits for the word of a rank that is watched elsewhere.
    """
    working = [beat for beat in beats if beat.stage is not None and not beat.resting]
    if not working or now - max(beat.at for beat in working) <= deadline_seconds:
        return []
    return [Silence(beat, int(now - beat.at)) for beat in sorted(working, key=lambda b: b.at)]


def suspects_first(found: Sequence[Silence]) -> tuple[Silence, ...]:
    """Those that stand where few others do first, of these the longest silent.

    Ranks that wait for another mostly stand at one line; their last beats differ by chance.
    """
    standing = Counter(silence.line for silence in found)
    return tuple(sorted(found, key=lambda s: (standing[s.line], -s.seconds)))


class Watchdog:
    """Watches the ranks of this pod in a thread of the launcher."""

    def __init__(self, work: Path, deadline_seconds: int) -> None:
        self.hang: Hang | None = None
        """What it ended the ranks for."""
        self._work = work
        self._deadline = deadline_seconds
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._watch, name="watchdog", daemon=True)

    def __enter__(self) -> "Watchdog":
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        self._thread.join()

    def _watch(self) -> None:
        tick = min(self._deadline / _LOOKS, _LONGEST_TICK)
        awake_since = looked_at = time.monotonic()
        while not self._over.wait(tick):
            now = time.monotonic()
            if now - looked_at > _SLEPT * tick:
                awake_since = now
            looked_at = now
            found = silences(read_beats(self._work), now, self._deadline)
            if found and now - awake_since > self._deadline:
                self._end(found)
                return

    def _end(self, found: Sequence[Silence]) -> None:
        """Only those that hang: the number of a rank that ended may be another process's by now,
        and one that rests hears from the agent that the others are gone."""
        beats = [silence.beat for silence in found]
        stacks = ask_for_stacks({b.pid: stack_path(self._work, b.rank) for b in beats})
        for beat in beats:
            log.info("rank %d hangs; its stacks:\n%s", beat.rank, stacks[beat.pid] or "no answer")
        told = [replace(s, line=innermost(stacks[s.beat.pid])) for s in found]
        self.hang = Hang(self._deadline, suspects_first(told))
        for beat in beats:
            # Nothing softer: a rank that hangs does not come to the point where it would save.
            try:
                os.kill(beat.pid, signal.SIGKILL)
            except ProcessLookupError:
                continue
