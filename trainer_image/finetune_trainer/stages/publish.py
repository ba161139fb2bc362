"""Publishing: report and card, then the pointer; rank 0 alone."""

import platform
import time
from importlib.metadata import version
from pathlib import Path

from finetune_api.exits import Outcome
from finetune_api.manifest import Manifest
from finetune_api.messages import LaunchMessage
from finetune_api.reasons import Reason
from finetune_api.status import EvaluationStatus, OutputStatus

from finetune_trainer.checkpoint.header import file_record
from finetune_trainer.prepared import Prepared
from finetune_trainer.stages.context import Run
from finetune_trainer.stages.markers import Marker
from finetune_trainer.stages.pointer import Pointer, publish_pointer
from finetune_trainer.stages.report import write_card, write_report
from finetune_trainer.version import TRAINER_VERSION

_LIBRARIES = ("torch", "transformers", "peft", "safetensors", "numpy")


def publish(
    run: Run,
    prepared: Prepared,
    training: Marker,
    evaluation: EvaluationStatus | None,
    seen: Pointer | None,
) -> LaunchMessage:
    """Upload what is not in this run's folder yet, then move the pointer to it.

    Raises UserError OUTPUT_TAKEN, and InterruptedRunError between uploads.
    """
    write_report(run, prepared, evaluation)
    write_card(run, evaluation)
    root = run.work / "publish"
    names = [path.relative_to(root).as_posix() for path in _files(root)]
    for name in names:
        run.comm.check_stop()
        is_there = training.run_uri == run.here.root and name.startswith(
            f"{run.result_folder.name}/"
        )
        if not is_there:
            run.store.upload(root / name, f"{run.here.root}/{name}")
    manifest = Manifest(
        job_uid=run.file.job.uid,
        run_uri=run.here.root,
        result_uri=run.result_uri,
        base_model=run.file.spec.model.id or run.file.spec.model.uri,
        recipe_hash=run.recipe_hash,
        data_hash=run.data_hash,
        versions=_versions(),
        created_at=time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
        steps=training.steps,
        evaluation=evaluation,
        files=[file_record(root, name) for name in names],
    )
    on_existing = run.file.spec.output.on_existing
    pointer = publish_pointer(run.store, run.layout.manifest, manifest, seen, on_existing)
    return published(pointer)


def published(pointer: Pointer) -> LaunchMessage:
    """The message of a run whose result is what `pointer` says."""
    manifest = pointer.manifest
    assert manifest is not None
    return LaunchMessage(
        outcome=Outcome.DONE,
        reason=Reason.PUBLISHED,
        message=f"published {manifest.result_uri}",
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
