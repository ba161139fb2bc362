"""What stays of a job's runs beside its result."""

from finetune_api.layout import CHECKPOINT_MANIFEST
from finetune_api.manifest import Manifest
from finetune_api.spec import Retain

from finetune_trainer.stages.context import Run

_CHECKPOINTS = "/checkpoints/step-"


def remove_checkpoints(run: Run, manifest: Manifest) -> None:
    """Remove the checkpoints of all runs of this job, unless output.retain keeps them.

    Only once `manifest` is published, so that a death in the middle leaves a result. What the
    manifest names stays, and a checkpoint's header goes before what it promises.
    """
    if run.file.spec.output.retain is not Retain.ADAPTER:
        return
    named = {f"{manifest.run_uri}/{record.path}" for record in manifest.files}
    found = [info.uri for info in run.store.list(run.layout.own_runs) if _CHECKPOINTS in info.uri]
    for uri in sorted(set(found) - named, key=lambda uri: not uri.endswith(CHECKPOINT_MANIFEST)):
        run.store.delete(uri)
