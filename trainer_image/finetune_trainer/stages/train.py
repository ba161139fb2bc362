"""Training: from the newest checkpoint to the last step, and the result into the store."""

import logging
import time
from pathlib import Path

import torch
from finetune_api.errors import UserError
from finetune_api.progress import Stage
from finetune_api.reasons import Reason

from finetune_trainer.checkpoint.find import Found, newest
from finetune_trainer.checkpoint.header import METRICS_FILE, CheckpointHeader
from finetune_trainer.checkpoint.state import capture, fits, restore
from finetune_trainer.checkpoint.write import CheckpointWriter, Snapshot
from finetune_trainer.engine.interrupt import interrupted
from finetune_trainer.engine.step import Engine, StopRequestedError
from finetune_trainer.prepared import Prepared
from finetune_trainer.stages.context import Run
from finetune_trainer.stages.markers import Marker, write_marker
from finetune_trainer.stages.metrics import MetricsLog
from finetune_trainer.stages.result import round_to_published, save_result

log = logging.getLogger("finetune")


class Training:
    """The engine of a run with its checkpoints, metrics and limits."""

    def __init__(self, run: Run, model: torch.nn.Module, prepared: Prepared) -> None:
        spec = run.file.spec
        self.run = run
        self.prepared = prepared
        self.engine = Engine.make(
            run.comm,
            model,
            prepared.train,
            method=spec.method,
            training=spec.training,
            micro_batch_tokens=run.micro_batch_tokens,
        )
        self._writer: CheckpointWriter | None = None
        self._metrics: MetricsLog | None = None
        if run.comm.is_first:
            scratch = run.work / "checkpoints"
            self._writer = CheckpointWriter(run.store, run.here, scratch, spec.checkpoints.keep)
        self._resumed_at = 0
        self._saved_at = time.monotonic()

    def resume(self, uris: list[str]) -> None:
        """Go on from the newest valid checkpoint among `uris` (given on rank 0); collective."""
        found = self._find(uris) if self.run.comm.is_first else None
        header = found.header if found else None
        if self.run.comm.is_first:
            content = found.metrics if found else b""
            self._metrics = MetricsLog(self.run.report_folder / METRICS_FILE, content)
        shared = self.run.comm.share("resume", header.to_wire() if header else None)
        if shared is not None:
            header = CheckpointHeader.parse_wire(shared)
            tensors = found.tensors if found else None
            restore(self.engine, tensors, step=header.step, applied=header.applied_steps)
            self._resumed_at = header.step
            self.run.known.checkpoint_step = header.step
        self.run.known.last_step = self.engine.step
        if found is not None:
            log.info("going on after step %d from %s", found.header.step, found.uri)
        if self.run.progress is not None:
            self.run.progress.at_step(self.engine.step, self.engine.plan.total_steps)

    def run_to_end(self) -> None:
        """Do all steps that are left.

        Raises InterruptedRunError after a checkpoint, and UserError DIVERGED.
        """
        while not self.engine.finished:
            started = time.monotonic()
            try:
                result = self.engine.run_step()
            except StopRequestedError:
                self._save_and_stop()
            seconds = time.monotonic() - started
            step = self.engine.step
            self.run.known.last_step = step
            if self._metrics is not None:
                epoch = self.engine.plan.epoch_after(step)
                self._metrics.append(step, epoch, result, seconds)
            if self.run.progress is not None:
                total = self.engine.plan.total_steps
                self.run.progress.after_step(step, total, result, seconds)
            self._check_divergence()
            if self._writer is not None and self._is_due(self._writer):
                self._save(self._writer)
        if self._writer is not None:
            self._writer.wait()

    def _check_divergence(self) -> None:
        skipped = self.engine.step - self.engine.applied
        limit = self.run.file.spec.training.max_skipped_steps
        if skipped > limit:
            raise UserError(
                Reason.DIVERGED,
                f"the loss or a gradient was not finite in {skipped} of {self.engine.step} steps "
                f"(training.maxSkippedSteps is {limit}): lower training.learningRate, or look for "
                "broken rows",
                where=f"step {self.engine.step}",
            )

    def _is_due(self, writer: CheckpointWriter) -> bool:
        """Whether to save after this step; the last needs no checkpoint, as the result follows."""
        if self.engine.finished:
            return False
        wish = self.run.file.spec.checkpoints
        if wish.every_steps is not None and self.engine.step % wish.every_steps == 0:
            return True
        minutes = (time.monotonic() - self._saved_at) / 60
        return minutes >= wish.every_minutes and not writer.busy

    def _save(self, writer: CheckpointWriter) -> None:
        """Copy the state and let it be uploaded while training goes on."""
        assert self._metrics is not None
        engine = self.engine
        header = CheckpointHeader(
            step=engine.step,
            applied_steps=engine.applied,
            total_steps=engine.plan.total_steps,
            epoch=engine.plan.epoch_after(engine.step),
            world_size=self.run.comm.world_size,
            recipe_hash=self.run.recipe_hash,
            data_hash=self.run.data_hash,
            files=[],
        )
        writer.wait()
        self._note(writer)
        writer.write(Snapshot(header, capture(engine), self._metrics.content()))
        self._saved_at = time.monotonic()

    def _save_and_stop(self) -> None:
        """Save what is not saved yet, on all ranks at the same step, and end the run."""
        writer, step = self._writer, self.engine.step
        if writer is not None:
            writer.wait()
            if step > max(self._resumed_at, writer.committed_step or 0):
                self._save(writer)
                writer.wait()
            self._note(writer)
        self.run.comm.meet()
        raise interrupted(f"saved after step {step} of {self.engine.plan.total_steps}")

    def _note(self, writer: CheckpointWriter) -> None:
        if writer.committed_step is not None:
            self.run.known.checkpoint_step = writer.committed_step

    def _find(self, uris: list[str]) -> Found | None:
        return newest(
            self.run.store,
            uris,
            self.run.work,
            hashes=self.run.hashes,
            accepts=lambda header, tensors: fits(
                self.engine, tensors, applied=header.applied_steps
            ),
            warn=log.warning,
        )


def train(
    run: Run, model: torch.nn.Module, prepared: Prepared, handed_over: Path, uris: list[str]
) -> Marker | None:
    """Train to the end and commit the result; collective. The marker, on rank 0.

    Args:
        handed_over: folder of the tokenizer and what else goes along with the result.
        uris: on rank 0, addresses of what earlier incarnations left.
    """
    training = Training(run, model, prepared)
    training.resume(uris)
    training.run_to_end()
    round_to_published(run, model)
    if not run.comm.is_first:
        return None
    save_result(run, model, prepared, handed_over)
    upload_folder(run, run.result_folder, run.result_uri)
    upload_folder(run, run.report_folder, run.here.report)
    steps = training.engine.step
    return write_marker(run, Stage.TRAINING, steps=steps, result_uri=run.result_uri)


def upload_folder(run: Run, folder: Path, uri: str) -> None:
    """Upload all files below `folder`."""
    for path in sorted(folder.rglob("*")):
        if path.is_file():
            run.store.upload(path, f"{uri}/{path.relative_to(folder).as_posix()}")
