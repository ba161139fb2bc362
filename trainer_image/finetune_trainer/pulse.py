"""The pulse of a rank: when it last finished a piece of work, for the launcher to watch.

A piece of work is what a stage is made of: a micro-batch or an optimizer step, a token of an
answer, bytes that arrived, a file that was saved. Each rank keeps one small file up to date; what
waits for another rank's word rests, since that rank is watched where it runs.
"""

import json
import os
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path

from finetune_api.progress import Stage

from finetune_trainer.progress import write_atomically

_FOLDER = "pulses"
_WRITE_SECONDS = 0.2
"""Least time between two writes of the file where no step was done; what it says may be older by
that."""


@dataclass
class Known:
    """What a termination message tells of a run that did not reach its end."""

    last_step: int | None = None
    checkpoint_step: int | None = None
    """Step that the next incarnation goes on from; only rank 0 knows."""


@dataclass(frozen=True)
class Beat:
    """What a rank last said."""

    rank: int
    pid: int
    at: float
    """When, by the clock that all processes of a machine share: time.monotonic()."""
    resting: bool
    """It waits for another rank's word, or has ended."""
    stage: str | None
    """None until the first begins: imports and the first meeting of the ranks take their time."""
    last_step: int | None
    checkpoint_step: int | None


class Pulse:
    """Tells the launcher that this rank gets on."""

    def __init__(
        self,
        work: Path | None = None,
        rank: int = 0,
        known: Known | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """Without `work` nobody watches, and nothing is written."""
        self.stage: Stage | None = None
        self._path = None if work is None else pulse_path(work, rank)
        self._rank = rank
        self._known = known or Known()
        self._clock = clock
        self._resting = False
        self._written_at = float("-inf")
        self._step_told: int | None = None

    def beat(self) -> None:
        """A piece of work is done."""
        stepped = self._known.last_step != self._step_told
        if stepped or self._resting or self._clock() - self._written_at >= _WRITE_SECONDS:
            self._write(resting=False)

    def rest(self) -> None:
        """Wait for others, until the next beat."""
        if not self._resting:
            self._write(resting=True)

    def _write(self, *, resting: bool) -> None:
        self._resting, self._written_at = resting, self._clock()
        self._step_told = self._known.last_step
        if self._path is None:
            return
        beat = Beat(
            self._rank,
            os.getpid(),
            self._written_at,
            resting,
            self.stage,
            self._known.last_step,
            self._known.checkpoint_step,
        )
        write_atomically(self._path, json.dumps(asdict(beat)).encode())


def pulse_path(work: Path, rank: int) -> Path:
    """The file of a rank's pulse."""
    return work / _FOLDER / f"rank-{rank}.json"


def stack_path(work: Path, rank: int) -> Path:
    """The file that a rank writes its stacks to when it is asked where it stands."""
    return work / _FOLDER / f"rank-{rank}.stacks"


def read_beats(work: Path) -> list[Beat]:
    """What the ranks of this pod last said, in the order of ranks."""
    beats = [Beat(**json.loads(path.read_bytes())) for path in (work / _FOLDER).glob("rank-*.json")]
    return sorted(beats, key=lambda beat: beat.rank)


def prepare_pulses(work: Path) -> None:
    """Make the folder, without what an earlier run left there."""
    folder = work / _FOLDER
    folder.mkdir(parents=True, exist_ok=True)
    for path in folder.iterdir():
        path.unlink()
