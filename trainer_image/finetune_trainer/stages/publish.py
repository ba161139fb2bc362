"""Publishing: report and card, then the pointer; rank 0 alone."""

import platform
import time
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path

from finetune_api.exits import Outcome
from finetune_api.manifest import Manifest, Origin
from finetune_api.messages import LaunchMessage
from finetune_api.reasons import Reason
from finetune_api.status import EvaluationStatus, OutputStatus

from finetune_trainer.checkpoint.header import file_record
from finetune_trainer.engine.merge import merge_folders
from finetune_trainer.serving import serving_notes
from finetune_trainer.stages.card import write_card
from finetune_trainer.stages.context import Run
from finetune_trainer.stages.fetch import Fetched, merged_folder
from finetune_trainer.stages.markers import Marker
from finetune_trainer.stages.pointer import Pointer, publish_pointer
from finetune_trainer.stages.report import About, write_report
from finetune_trainer.stages.result import base_name, name_base
from finetune_trainer.stages.retain import remove_checkpoints
from finetune_trainer.start_files import list_folder, weights_digest
from finetune_trainer.version import TRAINER_VERSION

_WEIGHTS = ".safetensors"
_LIBRARIES = ("torch", "transformers", "peft", "trl", "safetensors", "numpy")


@dataclass(frozen=True)
class Finished:
    """A run whose stages before publishing are done."""

    fetched: Fetched
    training: Marker
    merging: Marker | None
    """Of the base that the start adapter was merged into."""
    evaluation: EvaluationStatus | None


def publish(run: Run, done: Finished, seen: Pointer | None) -> LaunchMessage:
    """Upload what is not in this run's folder yet, move the pointer to it, and remove what is
    not to be kept.

    Raises UserError OUTPUT_TAKEN, and InterruptedRunError before the last file is uploaded; after
    that it goes on to the end.
    """
    root = run.work / "publish"
    if run.file.spec.output.merged:
        base, target = done.fetched.model, root / Path(run.here.model).name
        with run.comm.cut_short_by_stop():
            merge_folders(base, run.result_folder, run.result_folder, target)
    if done.merging is not None and done.merging.run_uri != run.here.root:
        _upload(run, _files(merged_folder(run)))
    about = _describe(run, done)
    write_report(run, done.fetched.prepared, about)
    write_card(run, about)
    _upload(run, [path for path in _files(root) if not _is_there(run, done, path)])
    manifest = _manifest(run, done, about, _files(root))
    on_existing = run.file.spec.output.on_existing
    pointer = publish_pointer(run.store, run.layout.manifest, manifest, seen, on_existing)
    return finish(run, pointer)


def finish(run: Run, pointer: Pointer) -> LaunchMessage:
    """The end of a run for which `pointer` is published."""
    assert pointer.manifest is not None
    remove_checkpoints(run, pointer.manifest)
    return published(pointer)


def _describe(run: Run, done: Finished) -> About:
    """What people and servers must know of the result; it is written into the adapter too."""
    start, merged = done.fetched.start, done.merging is not None
    reward = start.reward_model
    name = base_name(run, done.fetched, merged=merged)
    notes: list[str] = []
    base_uri = run.here.base if merged else start.model_uri
    if not run.full_weights:
        digest = start.base_digest
        if merged:
            digest = weights_digest(list_folder(run.store, base_uri))
        origin = Origin(base_uri=base_uri, base_digest=digest, recipe_hash=run.recipe_hash)
        notes = serving_notes(name_base(run.result_folder, name, origin))
    return About(
        base=name,
        base_uri=base_uri,
        evaluation=done.evaluation,
        notes=notes,
        parents=start.parents,
        reward_parents=reward.parents if reward else [],
        reward_model=(reward.adapter_uri or reward.model_uri) if reward else None,
        started_from=start.adapter_uri,
    )


def _upload(run: Run, paths: list[Path]) -> None:
    root = run.work / "publish"
    for path in paths:
        run.comm.check_stop()
        run.store.upload(path, f"{run.here.root}/{path.relative_to(root).as_posix()}")


def _is_there(run: Run, done: Finished, path: Path) -> bool:
    """Whether `path` lies in the run's folder already; small files may have been written anew."""
    if path.is_relative_to(merged_folder(run)):
        return True
    trained_here = done.training.run_uri == run.here.root
    return trained_here and path.suffix == _WEIGHTS and path.is_relative_to(run.result_folder)


def _manifest(run: Run, done: Finished, about: About, paths: list[Path]) -> Manifest:
    root = run.work / "publish"
    return Manifest(
        job_uid=run.file.job.uid,
        run_uri=run.here.root,
        result_uri=run.result_uri,
        base_model=about.base,
        base_uri=about.base_uri,
        merged_uri=run.here.model if run.file.spec.output.merged else None,
        parents=about.parents,
        reward_parents=about.reward_parents,
        notes=about.notes,
        recipe_hash=run.recipe_hash,
        data_hash=run.data_hash,
        versions=_versions(),
        created_at=time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
        steps=done.training.steps,
        planned_steps=done.training.planned_steps,
        published_step=done.training.published_step,
        evaluation=done.evaluation,
        files=[file_record(root, path.relative_to(root).as_posix()) for path in paths],
    )


def published(pointer: Pointer) -> LaunchMessage:
    """The message of a run whose result is what `pointer` says."""
    manifest = pointer.manifest
    assert manifest is not None
    told = manifest.steps_told()
    return LaunchMessage(
        outcome=Outcome.DONE,
        reason=Reason.PUBLISHED,
        message=f"published {manifest.result_uri}" + (f"; {told}" if told else ""),
        output=OutputStatus(
            uri=manifest.result_uri,
            manifest_sha256=pointer.sha256,
            base_model=manifest.base_model,
        ),
        evaluation=manifest.evaluation,
        last_step=manifest.steps,
        recipe_hash=manifest.recipe_hash,
    )


def _files(root: Path) -> list[Path]:
    return sorted(path for path in root.rglob("*") if path.is_file())


def _versions() -> dict[str, str]:
    libraries = {name: version(name) for name in _LIBRARIES}
    return {"trainer": TRAINER_VERSION, "python": platform.python_version(), **libraries}
