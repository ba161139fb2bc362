"""The stages of a run in order; each that an earlier incarnation finished is passed over."""

import shutil
from functools import cached_property
from typing import Any

import torch
from finetune_api.errors import UserError
from finetune_api.exits import Outcome
from finetune_api.messages import LaunchMessage
from finetune_api.progress import Stage
from finetune_api.reasons import Reason
from finetune_api.resolve import settle
from finetune_api.spec import ONLINE, AdapterFrom, Method, StopAfter
from finetune_api.status import EvaluationStatus, Measurement

from finetune_trainer.engine.determinism import seed_everything
from finetune_trainer.engine.model import ModelSettings, load_model
from finetune_trainer.stages.context import Run
from finetune_trainer.stages.fetch import Fetched, arrival, download_folder, fetch
from finetune_trainer.stages.markers import Marker, Markers, find_markers, from_json, to_json
from finetune_trainer.stages.markers import write_marker as commit
from finetune_trainer.stages.measure import measure, sample_question
from finetune_trainer.stages.merging import merge_start
from finetune_trainer.stages.online import Answering
from finetune_trainer.stages.pointer import Pointer, check_free, keep_copy, read_pointer
from finetune_trainer.stages.publish import Finished, finish, publish
from finetune_trainer.stages.report import METRICS_FILE
from finetune_trainer.stages.result import load_result
from finetune_trainer.stages.reward import reward_scale, write_reward_scale
from finetune_trainer.stages.train import train


def run_stages(run: Run) -> LaunchMessage:
    """Do all stages that are left; this rank's result. Only rank 0's names the output."""
    run.enter(Stage.FETCHING)
    sequence = _Sequence(run)
    if sequence.is_adopted:
        return sequence.adopt()
    before = sequence.baseline()
    if sequence.ends_untrained:
        return sequence.measured(before)
    training = sequence.training()
    after = sequence.evaluation()
    return sequence.publishing(training, before, after)


class _Sequence:
    """What the stages of one incarnation hand to each other."""

    def __init__(self, run: Run) -> None:
        self.run = run
        self.seen: Pointer | None = None
        """On rank 0, what was published when this incarnation started."""
        self.adopted: Pointer | None = None
        """On rank 0, a result of the same recipe and data that is published already."""
        self._uris: list[str] = []
        self._look_around()
        if not self.is_adopted:
            if run.comm.local_rank == 0:
                shutil.rmtree(run.work / "publish", ignore_errors=True)
            self._fetch()

    def _fetch(self) -> None:
        """Bring the start model here, its adapter merged into it where the job says so."""
        run = self.run
        merging = self.markers.get(Stage.MERGING)
        self.fetched: Fetched = fetch(run, merging.result_uri if merging else None)
        starts_from_adapter = self.fetched.start.adapter_uri is not None
        self.adapter = settle(
            run.file.spec.adapter,
            starts_from_adapter=starts_from_adapter,
            method=run.file.spec.method,
        )
        if merging is None and self.adapter.from_ is AdapterFrom.MERGE:
            self.fetched, merging = merge_start(run, self.fetched)
        self.merging: Marker | None = merging

    def _look_around(self) -> None:
        """Read, on rank 0, what is published and what earlier incarnations left; tell all."""
        run = self.run
        facts: dict[str, Any] | None = None
        if run.comm.is_first:
            if not self.ends_untrained:
                self._look_at_pointer()
            self._uris = [info.uri for info in run.store.list(run.layout.runs)]
            markers = find_markers(run.store, self._uris, run.hashes)
            if self.ends_untrained:
                markers.pop(Stage.TRAINING, None)
            facts = {"adopted": self.adopted is not None, "markers": to_json(markers)}
        facts = run.comm.share("history", facts)
        self.markers: Markers = from_json(facts["markers"])
        self.is_adopted = bool(facts["adopted"])

    def _look_at_pointer(self) -> None:
        """Raises UserError OutputTaken where something else is published."""
        run = self.run
        uri, output = run.layout.manifest, run.file.spec.output
        self.seen = read_pointer(run.store, uri)
        if self.seen is not None and self.seen.serves(run.hashes, merged=output.merged):
            self.adopted = self.seen
        else:
            check_free(self.seen, uri, output.on_existing, run.hashes)

    @property
    def ends_untrained(self) -> bool:
        """Whether the job ends with the measurement of the model that training would start from."""
        return self.run.file.spec.stop_after is StopAfter.BASELINE

    def measured(self, before: Measurement | None) -> LaunchMessage:
        """The end of a run that only measures. Raises UserError where nothing could be."""
        run = self.run
        if before is None:
            raise UserError(
                Reason.INVALID_DATA,
                "no held-out row can be measured: hold out rows that have an answer "
                "(data.evaluation, data.evaluationFraction)",
                where="spec.stopAfter",
            )
        question = sample_question(run, self.fetched.prepared)
        return LaunchMessage(
            outcome=Outcome.DONE,
            reason=Reason.BASELINE_MEASURED,
            message="the untouched model is measured on the held-out rows",
            evaluation=EvaluationStatus(question=question, before=before),
            recipe_hash=run.recipe_hash,
        )

    def adopt(self) -> LaunchMessage:
        """The end of a run whose result lies there already."""
        if self.adopted is not None:
            keep_copy(self.run.store, self.adopted)
            return finish(self.run, self.adopted)
        return LaunchMessage(outcome=Outcome.DONE, reason=Reason.PUBLISHED)

    @cached_property
    def model(self) -> torch.nn.Module:
        """The model: the trained one where training is done, else the base made trainable.

        Raises InterruptedRunError.
        """
        with self.run.comm.cut_short_by_stop():
            return self._load()

    def _load(self) -> torch.nn.Module:
        training = self.markers.get(Stage.TRAINING)
        if training is not None and training.run_uri != self.run.here.root:
            return load_result(self.run, self.fetched.model, self.adapter)
        spec, fetched = self.run.file.spec, self.fetched
        # All ranks draw the same first adapter.
        seed_everything(spec.training.seed)
        settings = ModelSettings.of(self.adapter, spec.training, spec.method)
        return load_model(fetched.model, settings, self.run.comm.device, fetched.adapter)

    @cached_property
    def answering(self) -> Answering | None:
        """How the model answers prompts, where it is trained on its own answers."""
        if self.run.file.spec.method not in ONLINE:
            return None
        return Answering.begin(self.run, self.fetched, self.model, self.adapter)

    def baseline(self) -> Measurement | None:
        """Measure the model that training starts from."""
        if Stage.TRAINING in self.markers:
            return self._known(Stage.BASELINE)
        return self._measure(Stage.BASELINE)

    def training(self) -> Marker | None:
        """Train, or fetch what an earlier incarnation trained. The marker, on rank 0."""
        done = self.markers.get(Stage.TRAINING)
        if done is not None:
            self._fetch_result(done)
            return done
        fetched = self.fetched
        return train(
            self.run,
            self.model,
            fetched.prepared,
            fetched.handed_over,
            self._uris,
            self.answering,
        )

    def evaluation(self) -> Measurement | None:
        """Measure the trained model; of a reward model also what its numbers mean."""
        run = self.run
        after = self._measure(Stage.EVALUATING)
        if run.file.spec.method is Method.REWARD:
            scale = reward_scale(run, self.model, self.fetched.prepared)
            if run.comm.is_first:
                write_reward_scale(run.result_folder, scale)
        return after

    def publishing(
        self, training: Marker | None, before: Measurement | None, after: Measurement | None
    ) -> LaunchMessage:
        """Publish, on rank 0; the others wait."""
        self.run.enter(Stage.PUBLISHING)
        if not self.run.comm.is_first:
            self.run.comm.get("published")
            return LaunchMessage(outcome=Outcome.DONE, reason=Reason.PUBLISHED)
        assert training is not None
        evaluation = None
        prepared = self.fetched.prepared
        if before is not None or after is not None:
            question = sample_question(self.run, prepared)
            evaluation = EvaluationStatus(question=question, before=before, after=after)
        done = Finished(self.fetched, training, self.merging, evaluation)
        message = publish(self.run, done, self.seen)
        self.run.comm.put("published", value=True)
        return message

    def _measure(self, stage: Stage) -> Measurement | None:
        """The measurement of `stage`, taken now unless an earlier incarnation took it."""
        run = self.run
        known = self._known(stage)
        if known is not None or not run.file.spec.evaluation.enabled:
            return known
        run.enter(stage)
        fetched = self.fetched
        result = measure(
            run,
            self.model,
            fetched.prepared,
            fetched.handed_over,
            stage.value,
            self.answering,
        )
        if run.comm.is_first:
            commit(run, stage, measurement=result)
        return result

    def _known(self, stage: Stage) -> Measurement | None:
        marker = self.markers.get(stage)
        return marker.measurement if marker is not None else None

    def _fetch_result(self, done: Marker) -> None:
        """Bring the trained weights and the metrics to each pod's disk; all wait for all pods."""
        run = self.run
        assert done.result_uri is not None
        if run.comm.local_rank == 0:
            download_folder(run, done.result_uri, run.result_folder)
        if run.comm.is_first:
            metrics = f"{done.run_uri}/report/{METRICS_FILE}"
            path = run.report_folder / METRICS_FILE
            run.store.download(metrics, path, watch=arrival(run))
        run.comm.await_all("result")
