"""What rank 0 tells while it works: progress.json for programs, log lines for people."""

import logging
import os
import time
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING

from finetune_api.progress import Progress, Stage

if TYPE_CHECKING:
    from finetune_trainer.engine.step import StepResult

_FILE_SECONDS = 0.5
"""Least time between two writes of the file."""
_EAGER_STEPS = 5
"""First steps, each with a line of its own."""
_LINE_SECONDS = 5.0
_SMOOTHING = 0.1

REWARD = "reward"
"""Name of the mean reward among a step's means, where the model writes answers."""

log = logging.getLogger("finetune")


class ProgressWriter:
    """Progress of a run, in a file that appears whole and in log lines; on rank 0 only."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._latest = Progress(stage=Stage.FETCHING)
        self._written_at = 0.0
        self._logged_at = 0.0
        self._steps_seen = 0
        self._seconds_per_step: float | None = None

    def enter(self, stage: Stage) -> None:
        """Say that `stage` begins."""
        update: dict[str, object] = {"stage": stage, "stage_percent": None}
        self._latest = self._latest.model_copy(update=update)
        log.info("stage %s", stage.value)
        self._write(force=True)

    def share_done(self, percent: int) -> None:
        """Say how much of a stage without steps is done."""
        self._latest = self._latest.model_copy(update={"stage_percent": percent})
        self._write(force=percent == 100)

    def after_bytes(self, done: int, total: int) -> None:
        """Say how many bytes are fetched; only Fetching shows them."""
        if self._latest.stage is Stage.FETCHING and total:
            self.share_done(100 * done // total)

    def at_step(self, step: int, total: int) -> None:
        """Say where training stands without having done a step: at its start."""
        update = {
            "step": step,
            "total_steps": total,
            "percent": 100 * step // total,
            "resumed_from_step": step,
        }
        self._latest = self._latest.model_copy(update=update)
        self._write(force=True)

    def after_step(self, step: int, total: int, result: "StepResult", seconds: float) -> None:
        """Say what a step gave; `step` steps are done now."""
        known = self._seconds_per_step
        self._seconds_per_step = (
            seconds if known is None else known + _SMOOTHING * (seconds - known)
        )
        eta = round(self._seconds_per_step * (total - step))
        rate = round(result.tokens / max(seconds, 1e-9))
        self._latest = Progress(
            stage=Stage.TRAINING,
            step=step,
            total_steps=total,
            percent=100 * step // total,
            resumed_from_step=self._latest.resumed_from_step,
            loss=f"{result.loss:.6g}",
            reward=f"{result.means[REWARD]:.6g}" if REWARD in result.means else None,
            learning_rate=f"{result.learning_rate:.6g}",
            tokens_per_second=rate,
            eta_seconds=eta,
        )
        self._write(force=step == total)
        self._line(result, rate, eta)

    def _line(self, result: "StepResult", rate: int, eta: int) -> None:
        self._steps_seen += 1
        now = time.monotonic()
        latest = self._latest
        due = self._steps_seen <= _EAGER_STEPS or latest.step == latest.total_steps
        if not (due or result.skipped or now - self._logged_at >= _LINE_SECONDS):
            return
        self._logged_at = now
        log.info(
            "step %d/%d  loss %.4f%s  lr %.2e  %s tok/s  eta %s%s",
            latest.step,
            latest.total_steps,
            result.loss,
            f"  reward {result.means[REWARD]:.4f}" if REWARD in result.means else "",
            result.learning_rate,
            f"{rate:,}",
            timedelta(seconds=eta),
            "  skipped: loss or gradient is not finite" if result.skipped else "",
        )

    def _write(self, *, force: bool) -> None:
        now = time.monotonic()
        if force or now - self._written_at >= _FILE_SECONDS:
            self._written_at = now
            write_atomically(self._path, self._latest.model_dump_json(by_alias=True).encode())


def write_atomically(path: Path, data: bytes) -> None:
    """Put `data` at `path` so that a reader sees the old or the new content, never a part."""
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    temporary.write_bytes(data)
    temporary.replace(path)
