"""From a run file to tokens in S3, on CPUs.

    output writable -> model -> sources -> hashes -> published already? prepared already?
    -> rows -> tokens -> splits -> report -> upload

Whatever is wrong with the job, its model or its rows ends here, before an accelerator is taken.
"""

import json
import tempfile
from dataclasses import dataclass
from pathlib import Path
from threading import Thread

import numpy as np
from finetune_api.errors import UserError
from finetune_api.exits import Outcome
from finetune_api.layout import JobLayout
from finetune_api.messages import PrepareMessage
from finetune_api.reasons import Reason
from finetune_api.runfile import RunFile
from finetune_api.spec import (
    Adapter,
    DataChecks,
    FineTuneJobSpec,
    Method,
    RowSource,
    StopAfter,
    TrainingEngine,
)
from finetune_api.status import DataStatus, OutputStatus, ParentRole, PreparedStatus

from finetune_trainer.adapter_check import check_head_is_bare, settle_adapter, shown
from finetune_trainer.data.rendering import Rendering
from finetune_trainer.engine.mixture import mixture_of_sizes, train_sources
from finetune_trainer.heap import settled_heap
from finetune_trainer.identity import data_digest, recipe_digest
from finetune_trainer.model_check import CheckedModel, check_model, check_reward_model
from finetune_trainer.preparation.corpus import CorpusReader
from finetune_trainer.preparation.domain import domain_of
from finetune_trainer.preparation.licenses import look_at_licenses
from finetune_trainer.preparation.local_files import LocalSources
from finetune_trainer.preparation.page import compile_page
from finetune_trainer.preparation.report import make_report
from finetune_trainer.preparation.report_files import PAGE_FILE, REPORT_FILE, page_of, upload_report
from finetune_trainer.preparation.row_work import RowWorkerMaker
from finetune_trainer.preparation.samples import sample_rows
from finetune_trainer.preparation.sources import (
    Say,
    ShareDone,
    fetch_sources,
    find_sources,
    quiet,
)
from finetune_trainer.preparation.splits import Splits, counted, read_splits
from finetune_trainer.preparation.verdict import first_errors, problem_of, told
from finetune_trainer.preparation.workers import warm_up
from finetune_trainer.prepared import PreparedMetadata
from finetune_trainer.prepared_files import find_prepared, upload_prepared, write_prepared
from finetune_trainer.stages.pointer import Pointer, check_free, keep_copy, read_pointer
from finetune_trainer.start import check_pinned
from finetune_trainer.start_files import StartRecord
from finetune_trainer.storage import PreconditionFailed, Store

_MARKER_FILE = "prepare.json"


@dataclass(frozen=True)
class _Inputs:
    """All that a preparation depends on, on this machine."""

    model: CheckedModel
    reward: CheckedModel | None
    rendering: Rendering
    sources: LocalSources
    status: PreparedStatus
    """Where the tokens will lie."""
    adapter: Adapter
    """What is trained, for people to read."""

    def record(self) -> StartRecord:
        """What the trainer compares with what it finds."""
        recipe = self.status.recipe_hash
        reward = self.reward.record(recipe) if self.reward else None
        return self.model.record(recipe).model_copy(update={"reward_model": reward})


def _published(
    spec: FineTuneJobSpec, layout: JobLayout, status: PreparedStatus, store: Store
) -> Pointer | None:
    """The same recipe on the same data, where it is published already. Raises UserError OutputTaken
    where something else is."""
    hashes = (status.recipe_hash, status.data_hash)
    published = read_pointer(store, layout.manifest)
    if published is not None and published.serves(hashes, merged=spec.output.merged):
        return published
    check_free(published, layout.manifest, spec.output.on_existing, hashes)
    return None


class RefusedDataError(UserError):
    """The rows are refused; what was counted goes along."""

    def __init__(self, problem: UserError, data: DataStatus) -> None:
        super().__init__(problem.reason, problem.message, where=problem.where)
        self.data = data


@settled_heap()
def run_prepare(
    run: RunFile, work: Path, store: Store, say: Say = print, share_done: ShareDone = quiet
) -> PrepareMessage:
    """Prepare the data of `run`, using `work` as scratch space.

    Raises FineTuneError; with rows at fault a RefusedDataError, whose report is uploaded.
    """
    layout = JobLayout.of(run.spec.output.uri, run.job)
    _check_output(store, layout, run.spec.output.uri)
    with tempfile.TemporaryDirectory(dir=work, prefix="prepare-") as folder:
        inputs = _gather(run, layout, Path(folder), store, say)
        if run.spec.stop_after is None:
            published = _published(run.spec, layout, inputs.status, store)
            if published is not None:
                keep_copy(store, published)
                return _adopted_message(published, inputs.status)
        store.write(layout.start, json.dumps(inputs.record().to_wire()).encode())
        metadata = find_prepared(store, inputs.status.uri)
        if metadata is not None:
            say(f"already prepared: {inputs.status.uri}")
        else:
            metadata = _make(run, layout, inputs, Path(folder), store, say, share_done)
    _check_evaluations_have_rows(run.spec, metadata.counts)
    _check_engine(run.spec, metadata)
    counts = _counts_of(run.spec, metadata)
    return PrepareMessage(
        outcome=Outcome.DONE,
        reason=Reason.DATA_READY,
        message=f"{counts.rows} training {metadata.unit.plural}, {counts.tokens} tokens an epoch",
        prepared=inputs.status,
        adapter=inputs.adapter,
        data=counts,
    )


def _adopted_message(published: Pointer, status: PreparedStatus) -> PrepareMessage:
    manifest = published.manifest
    assert manifest is not None  # or its hashes would not be known
    return PrepareMessage(
        outcome=Outcome.DONE,
        reason=Reason.ALREADY_PUBLISHED,
        message="the same recipe on the same data is published",
        prepared=status,
        adopted=OutputStatus(
            uri=manifest.result_uri,
            manifest_sha256=published.sha256,
            base_model=manifest.base_model,
        ),
        adopted_evaluation=manifest.evaluation,
    )


def _check_output(store: Store, layout: JobLayout, output_uri: str) -> None:
    """Write a marker as results will be written, so that a wrong bucket or key shows now."""
    try:
        store.write(f"{layout.runs}/{layout.uid8}/{_MARKER_FILE}", b"{}\n", if_absent=True)
    except PreconditionFailed:
        return  # an earlier preparation of this job wrote it
    except UserError as error:
        message = f"results cannot be written under output.uri: {error.message}"
        raise UserError(error.reason, message, where=output_uri) from error


def _gather(run: RunFile, layout: JobLayout, folder: Path, store: Store, say: Say) -> _Inputs:
    """Find the sources, check the model, fetch the sources and compute the hashes."""
    spec = run.spec
    found = {
        "train": find_sources(store, spec.data.train),
        "replay": find_sources(store, spec.cpt.replay if spec.cpt else []),
        "evaluation": find_sources(store, spec.data.evaluation or []),
        "domain": find_sources(store, _domain(spec)),
    }
    warm_up(sum(source.size for sources in found.values() for source in sources))
    uri = spec.model.address()
    say(f"checking the model {uri}")
    model = check_model(store, uri, folder / "model", spec.training.sequence_length)
    check_pinned(model.start, run.parents, ParentRole.MODEL)
    adapter = settle_adapter(spec.adapter, model, spec.method)
    reward = _check_reward(spec, store, folder / "reward", model, say)
    if reward is not None:
        check_pinned(reward.start, run.parents, ParentRole.REWARD_MODEL)
    if spec.training.engine is TrainingEngine.TRL:
        check_head_is_bare(adapter, model)
    rendering = Rendering(model.tokenizer, spec)
    sources = LocalSources(
        **{name: fetch_sources(store, each, folder / name, say) for name, each in found.items()}
    )
    data_hash = data_digest(spec, sources, model.tokenizer_digest, rendering.template)
    status = PreparedStatus(
        uri=layout.prepared(data_hash),
        data_hash=data_hash,
        recipe_hash=recipe_digest(spec, adapter, model, sources.all, reward),
        model_digest=model.digest,
    )
    return _Inputs(model, reward, rendering, sources, status, shown(adapter, model))


def _domain(spec: FineTuneJobSpec) -> list[RowSource]:
    return [RowSource(uri=text.uri) for text in spec.data.domain_text or ()]


def _check_reward(
    spec: FineTuneJobSpec, store: Store, folder: Path, policy: CheckedModel, say: Say
) -> CheckedModel | None:
    """The reward model, where the job has one, fit to score what the model writes."""
    if spec.reward_model is None:
        return None
    uri = spec.reward_model.address()
    say(f"checking the reward model {uri}")
    return check_reward_model(store, uri, folder, spec.training.sequence_length, policy)


def _make(
    run: RunFile,
    layout: JobLayout,
    inputs: _Inputs,
    folder: Path,
    store: Store,
    say: Say,
    share_done: ShareDone,
) -> PreparedMetadata:
    """Read the rows, make the tokens, upload them and the report.

    Raises RefusedDataError, with its report uploaded.
    """
    spec, rendering, modes = run.spec, inputs.rendering, run.spec.data.checks
    relevance = domain_of(spec, inputs.sources, folder / "domain-rows")
    maker = RowWorkerMaker(inputs.model.tokenizer, spec, relevance)
    reader = CorpusReader(maker, folder / "spools", inputs.sources.size, say, share_done)
    look_at_licenses(spec, reader.findings)
    Thread(target=compile_page, daemon=True).start()  # this one waits for the tokenizer at times
    splits: Splits | None = None
    try:
        splits = read_splits(reader, inputs.sources, spec, rendering.unit, folder / "spools")
        _check_rows(spec, reader, splits)
        partners = splits.partners(spec)
    except UserError as problem:
        report = make_report(reader.findings, reader.sources, modes, rendering, splits, problem)
        upload_report(store, report, layout.data_report())
        raise RefusedDataError(
            problem, _refused_counts(reader, layout, modes, problem)
        ) from problem
    share_done(100)
    train, evaluation = splits.train, splits.evaluation
    sources = counted(reader.sources, train)
    report = make_report(reader.findings, sources, modes, rendering, splits)
    upload_report(store, report, f"{inputs.status.uri}/{REPORT_FILE}")
    metadata = PreparedMetadata(
        unit=rendering.unit,
        data_hash=inputs.status.data_hash,
        tokenizer_digest=inputs.model.tokenizer_digest,
        chat_template=rendering.published_template,
        sequence_length=spec.training.sequence_length,
        counts=DataStatus(
            rows=train.units,
            evaluation_rows=evaluation.units,
            dropped=reader.findings.dropped,
            tokens=len(train.tokens),
            report_uri=f"{inputs.status.uri}/{PAGE_FILE}",
            first_errors=first_errors(reader.findings, None),
            findings=told(modes, reader.findings) or None,
        ),
        most_rows=int(np.diff(train.unit_offsets).max()),
        evaluation_tokens=len(evaluation.tokens),
        sources=sources,
        samples=sample_rows(evaluation, reader, rendering),
    )
    units = metadata.unit.plural
    say(f"{train.units} training {units}, {evaluation.units} held out, {len(train.tokens)} tokens")
    metadata = write_prepared(
        folder / "prepared", metadata, *splits.files, partners=partners, answers=splits.answers
    )
    upload_prepared(store, folder / "prepared", inputs.status.uri)
    return metadata


def _check_rows(spec: FineTuneJobSpec, reader: CorpusReader, splits: Splits) -> None:
    """Raise UserError where the rows are not what the job may train on."""
    problem = problem_of(spec.data.checks, reader.findings)
    if problem is not None:
        raise problem
    if not (splits.train.unit_sources < len(spec.data.train)).any():
        raise UserError(
            Reason.INVALID_DATA, "no training row is left", where=spec.data.train[0].uri
        )


def _refused_counts(
    reader: CorpusReader, layout: JobLayout, modes: DataChecks, problem: UserError
) -> DataStatus:
    findings = reader.findings
    return DataStatus(
        rows=max(0, findings.rows - findings.dropped),
        dropped=findings.dropped,
        report_uri=page_of(layout.data_report()),
        first_errors=first_errors(findings, problem),
        findings=told(modes, findings) or None,
    )


def _check_evaluations_have_rows(spec: FineTuneJobSpec, counts: DataStatus) -> None:
    if spec.training.eval_every_steps is not None and not counts.evaluation_rows:
        raise UserError(
            Reason.INVALID_DATA,
            f"evaluations are asked for, and of {counts.rows} training rows none is held out: "
            "name evaluation rows (data.evaluation), raise data.evaluationFraction, "
            "or remove training.evalEverySteps",
            where="spec.training.evalEverySteps",
        )
    if spec.stop_after is StopAfter.BASELINE and not counts.evaluation_rows:
        raise UserError(
            Reason.INVALID_DATA,
            f"the model is to be measured, and of {counts.rows} training rows none is held out: "
            "name evaluation rows (data.evaluation), or raise data.evaluationFraction",
            where="spec.stopAfter",
        )


def _check_engine(spec: FineTuneJobSpec, metadata: PreparedMetadata) -> None:
    """Raise UserError for rankings where pairs alone are trained on."""
    trl = spec.training.engine is TrainingEngine.TRL
    if spec.method is Method.REWARD and trl and metadata.most_rows > 2:
        raise UserError(
            Reason.INVALID_DATA,
            "training.engine TRL takes pairs, and some rows rank more than two answers: write "
            "Native",
            where="spec.training.engine",
        )


def _counts_of(spec: FineTuneJobSpec, metadata: PreparedMetadata) -> DataStatus:
    """What status shows: the tokens of an epoch depend on the mixture, which no token does.

    Raises UserError for a mixture that cannot be.
    """
    sources = metadata.sources[: len(train_sources(spec))]
    mixture = mixture_of_sizes(spec, [source.units for source in sources])
    tokens = sum(
        source.tokens * part.per_epoch // max(1, source.units)
        for source, part in zip(sources, mixture.parts, strict=True)
    )
    return metadata.counts.model_copy(update={"unit": metadata.unit, "tokens": tokens})
