"""Training: from the newest checkpoint to the last step, and the result into the store."""

import logging
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from finetune_api.progress import Stage
from finetune_api.spec import TrainingEngine

from finetune_trainer.arrays import Float32
from finetune_trainer.checkpoint.find import Wanted, at_step, newest
from finetune_trainer.checkpoint.header import METRICS_FILE, CheckpointHeader, Evaluated
from finetune_trainer.checkpoint.state import capture, fits, restore, restore_parameters
from finetune_trainer.checkpoint.write import CheckpointWriter, Snapshot
from finetune_trainer.engine.interrupt import interrupted
from finetune_trainer.engine.mixture import plan_of
from finetune_trainer.engine.scoring import SplitRows, measure_split
from finetune_trainer.engine.settings import StopRequestedError
from finetune_trainer.engine.step import Engine, Rows
from finetune_trainer.methods import objective_of
from finetune_trainer.online.grpo import told_of
from finetune_trainer.prepared import Prepared
from finetune_trainer.progress import REWARD
from finetune_trainer.stages.context import Run
from finetune_trainer.stages.divergence import check_divergence
from finetune_trainer.stages.fetch import arrival
from finetune_trainer.stages.markers import Marker, write_marker
from finetune_trainer.stages.metrics import MetricsLog
from finetune_trainer.stages.online import Answering
from finetune_trainer.stages.reference import reference_logprobs
from finetune_trainer.stages.result import round_to_published, save_result
from finetune_trainer.stages.selection import LOSS, Selection

log = logging.getLogger("finetune")

_TIMES_SHOWN = 50
"""Steps of a run, at most about, of which answers are kept to read."""
_TRAINED = "trained"
TRAIN, EVALUATION = "train", "evaluation"
PARTNERS = ("train-partners", "evaluation-partners")
"""Splits as the reference pass names them."""


class Training:
    """The engine of a run with its checkpoints, metrics, evaluations and limits."""

    def __init__(
        self,
        run: Run,
        engine: Engine,
        evaluate: Callable[[], dict[str, float]],
        shown: Callable[[], Sequence[Mapping[str, Any]]] | None = None,
    ) -> None:
        """`evaluate` gives means over the held-out rows, and under LOSS what selects among
        steps; it raises StopRequestedError. `shown` gives some answers of the last step."""
        spec = run.file.spec
        self.run = run
        self.engine = engine
        self._evaluate_now = evaluate
        self._shown = shown
        self._selection = Selection.of(spec)
        self._evaluations: list[Evaluated] = []
        self._writer: CheckpointWriter | None = None
        self._metrics: MetricsLog | None = None
        if run.comm.is_first:
            scratch = run.work / "checkpoints"
            self._writer = CheckpointWriter(run.store, run.here, scratch, spec.checkpoints.keep)
        self._resumed_at = 0
        self._saved_at = time.monotonic()

    @property
    def is_over(self) -> bool:
        """Whether all steps are done, or there is no use in going on."""
        return self.engine.finished or self._selection.is_over(self._evaluations)

    def resume(self, uris: list[str]) -> None:
        """Go on from the newest valid checkpoint among `uris` (given on rank 0); collective."""
        found = newest(self._wanted(uris)) if self.run.comm.is_first else None
        header = found.header if found else None
        if self.run.comm.is_first:
            content = found.metrics if found else b""
            self._metrics = MetricsLog(self.run.report_folder / METRICS_FILE, content)
        shared = self.run.comm.share("resume", header.to_wire() if header else None)
        if shared is not None:
            header = CheckpointHeader.parse_wire(shared)
            tensors = found.tensors if found else None
            self.engine.step, self.engine.skipped = header.step, header.skipped_updates
            restore(self.engine, tensors, applied=header.applied_steps)
            self._evaluations = list(header.evaluations)
            self.engine.set_state(header.state)
            self._resumed_at = header.step
        self.run.known.last_step = self.engine.step
        if self.run.comm.is_first:
            self.run.known.checkpoint_step = self._resumed_at
        if found is not None:
            log.info("going on after step %d from %s", found.header.step, found.uri)
        if self.run.progress is not None:
            self.run.progress.at_step(self.engine.step, self.engine.rows.plan.total_steps)

    def run_to_end(self) -> None:
        """Do all steps that are left.

        Raises InterruptedRunError after a checkpoint, and UserError DIVERGED.
        """
        if self._evaluation_is_due():  # the run before was stopped in it
            self._evaluate()
        while not self.is_over:
            self._step()
            check_divergence(
                self.run.file.spec.training,
                steps=self.engine.step,
                skipped=self.engine.skipped,
            )
            improved = self._evaluate() if self._evaluation_is_due() else False
            if self._writer is not None:
                self._note(self._writer)
                if improved or self._is_due(self._writer):
                    self._save(self._writer)
        if self._writer is not None:
            self._writer.wait()
        if not self.engine.finished:
            log.info("no more gain on held-out rows: ending after step %d", self.engine.step)

    def take_best(self, uris: list[str]) -> int:
        """Go back to the parameters of the best evaluated step, where the job wants that; the step
        that the parameters are of. Collective."""
        best = self._selection.best(self._evaluations)
        if not self._selection.publishes_best or best is None or best.step == self.engine.step:
            return self.engine.step
        log.info("publishing step %d, the best on the held-out rows", best.step)
        found = None
        if self.run.comm.is_first:
            here = [info.uri for info in self.run.store.list(self.run.here.root)]
            found = at_step(self._wanted([*uris, *here]), best.step)
        self.run.comm.await_all("best")
        restore_parameters(self.engine, found.tensors if found else None)
        return best.step

    def _step(self) -> None:
        """Do one step, and tell it."""
        started = time.monotonic()
        try:
            result = self.engine.run_step()
        except StopRequestedError:
            self._save_and_stop()
        seconds = time.monotonic() - started
        step, plan = self.engine.step, self.engine.rows.plan
        self.run.known.last_step = step
        self.run.comm.pulse.beat()
        if self._metrics is not None:
            self._metrics.append(step, plan.epoch_after(step), result, seconds)
            every = max(1, plan.total_steps // _TIMES_SHOWN)
            if self._shown is not None and (step % every == 0 or self.engine.finished):
                self._metrics.append_answers(step, plan.epoch_after(step), self._shown())
        if self.run.progress is not None:
            self.run.progress.after_step(step, plan.total_steps, result, seconds)

    def _evaluation_is_due(self) -> bool:
        every, step = self.run.file.spec.training.eval_every_steps, self.engine.step
        if every is None or step == 0 or any(done.step == step for done in self._evaluations):
            return False
        return step % every == 0 or self.engine.finished

    def _evaluate(self) -> bool:
        """Measure the held-out rows; whether this is the best step so far and must be kept."""
        step = self.engine.step
        try:
            means = self._evaluate_now()
        except StopRequestedError:
            self._save_and_stop()
        self._evaluations.append(Evaluated(step=step, value=self._selection.value_of(means)))
        log.info("step %d  held-out loss %.4f", step, means[LOSS])
        if self._metrics is not None:
            epoch = self.engine.rows.plan.epoch_after(step)
            self._metrics.append_evaluation(step, epoch, means)
        best = self._selection.best(self._evaluations)
        is_best = best is not None and best.step == step
        return self._selection.publishes_best and is_best and not self.engine.finished

    def _is_due(self, writer: CheckpointWriter) -> bool:
        """Whether to save after this step; the last needs no checkpoint, as the result follows."""
        if self.is_over:
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
        best = self._selection.best(self._evaluations)
        header = CheckpointHeader(
            step=engine.step,
            applied_steps=engine.applied,
            skipped_updates=engine.skipped,
            total_steps=engine.rows.plan.total_steps,
            epoch=engine.rows.plan.epoch_after(engine.step),
            world_size=self.run.comm.world_size,
            recipe_hash=self.run.recipe_hash,
            data_hash=self.run.data_hash,
            evaluations=self._evaluations,
            state=dict(engine.state()),
            files=[],
        )
        writer.wait()
        keep_too = best.step if best is not None and self._selection.publishes_best else None
        writer.write(Snapshot(header, capture(engine), self._metrics.content(), keep_too))
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
        raise interrupted(f"saved after step {step} of {self.engine.rows.plan.total_steps}")

    def _note(self, writer: CheckpointWriter) -> None:
        if writer.committed_step is not None:
            self.run.known.checkpoint_step = writer.committed_step

    def _wanted(self, uris: list[str]) -> Wanted:
        return Wanted(
            self.run.store,
            uris,
            self.run.work,
            hashes=self.run.hashes,
            accepts=lambda header, tensors: fits(
                self.engine, tensors, applied=header.applied_steps
            ),
            warn=log.warning,
            watch=arrival(self.run),
        )


def train(
    run: Run,
    model: torch.nn.Module,
    prepared: Prepared,
    handed_over: Path,
    uris: list[str],
    answering: Answering | None = None,
) -> Marker | None:
    """Train to the end and commit the result; collective. The marker, on rank 0.

    Args:
        model: as training starts from it.
        handed_over: folder of the tokenizer and what else goes along with the result.
        uris: on rank 0, addresses of what earlier incarnations left.
        answering: how the model answers prompts, where it is trained on its own answers.
    """
    if run.file.spec.training.engine is TrainingEngine.TRL:
        # Imported here: it takes seconds.
        from finetune_trainer.stages.train_trl import train_with_trl

        run.enter(Stage.TRAINING)
        steps = train_with_trl(run, model, prepared, handed_over, answering)
        done = {"steps": steps, "planned_steps": steps, "published_step": steps}
    else:
        done = _train_natively(run, model, prepared, uris, answering)
    round_to_published(run, model)
    if not run.comm.is_first:
        run.comm.get(_TRAINED)  # not in a collective: uploading takes as long as it takes
        return None
    # No stop is looked for from here to the marker: this saves the last steps.
    save_result(run, model, prepared, handed_over)
    upload_folder(run, run.result_folder, run.result_uri)
    upload_folder(run, run.report_folder, run.here.report)
    marker = write_marker(run, Stage.TRAINING, result_uri=run.result_uri, **done)
    run.known.checkpoint_step = run.known.last_step
    run.comm.put(_TRAINED, value=True)
    return marker


def begin_on_rows(run: Run, model: torch.nn.Module, prepared: Prepared) -> Training:
    """Training of `model` on the prepared rows, from step 0; what it says of them before is asked
    first, where the method needs that. Collective."""
    spec = run.file.spec
    objective = objective_of(spec, prepared.train)
    reference: dict[str, Float32] = {}
    if objective.needs_reference:
        splits = {TRAIN: prepared.train, EVALUATION: prepared.evaluation}
        splits |= dict(zip(PARTNERS, prepared.partners or (), strict=False))
        reference = reference_logprobs(run, model, splits)
    run.enter(Stage.TRAINING)
    partners, held_out_partners = (
        SplitRows(split, reference.get(name)) if split is not None else None
        for split, name in zip(prepared.partners or (None, None), PARTNERS, strict=True)
    )
    engine = Engine(
        run.comm,
        model,
        Rows(prepared.train, plan_of(spec, prepared), reference.get(TRAIN), partners),
        objective=objective,
        training=spec.training,
        micro_batch_tokens=run.micro_batch_tokens,
    )

    def evaluate() -> dict[str, float]:
        means = measure_split(
            run.comm,
            model,
            prepared.evaluation,
            objective=objective,
            settings=run.scoring_settings(prepared.evaluation),
            reference=reference.get(EVALUATION),
            partners=held_out_partners,
        )
        return {**means, LOSS: objective.loss(means)}

    return Training(run, engine, evaluate)


def begin_on_answers(run: Run, model: torch.nn.Module, answering: Answering) -> Training:
    """Training of `model` on the answers that it writes, from step 0."""
    run.enter(Stage.TRAINING)

    def evaluate() -> dict[str, float]:
        rollouts, verdict = answering.measure(model)
        told = told_of(rollouts, verdict)
        return {**told, LOSS: -told[REWARD]}

    engine = answering.engine(model)
    return Training(run, engine, evaluate, lambda: answering.shown(engine.last))


def _train_natively(
    run: Run,
    model: torch.nn.Module,
    prepared: Prepared,
    uris: list[str],
    answering: Answering | None,
) -> dict[str, int]:
    """Train `model` with our engine, in place, to the parameters that are published; the steps as
    `Marker` tells them. Collective."""
    if answering is not None:
        training = begin_on_answers(run, model, answering)
    else:
        training = begin_on_rows(run, model, prepared)
    training.resume(uris)
    training.run_to_end()
    engine = training.engine
    return {
        "steps": engine.step,
        "planned_steps": engine.rows.plan.total_steps,
        "published_step": training.take_best(uris),
    }


def upload_folder(run: Run, folder: Path, uri: str) -> None:
    """Upload all files below `folder`."""
    for path in sorted(folder.rglob("*")):
        if path.is_file():
            run.store.upload(path, f"{uri}/{path.relative_to(folder).as_posix()}")
            run.comm.pulse.beat()
