"""What every stage of a run works with."""

import secrets
import time
from dataclasses import dataclass
from pathlib import Path

from finetune_api.errors import InternalError
from finetune_api.layout import JobLayout, RunLayout
from finetune_api.progress import Stage
from finetune_api.reasons import Reason
from finetune_api.runfile import RunFile
from finetune_api.spec import AdapterType
from finetune_api.status import PreparedStatus

from finetune_trainer.engine.distributed import Comm
from finetune_trainer.engine.settings import StepSettings, chosen_micro_batch
from finetune_trainer.prepared import PreparedSplit
from finetune_trainer.progress import ProgressWriter
from finetune_trainer.pulse import Known
from finetune_trainer.storage import Store


@dataclass(frozen=True)
class Run:
    """One rank's view of one incarnation."""

    file: RunFile
    comm: Comm
    store: Store
    layout: JobLayout
    here: RunLayout
    """Folder of this incarnation."""
    work: Path
    """Scratch folder of this pod."""
    progress: ProgressWriter | None
    """Only on rank 0."""
    known: Known

    @property
    def recipe_hash(self) -> str:
        """Digest of all that changes the result."""
        return _prepared(self.file).recipe_hash

    @property
    def data_hash(self) -> str:
        """Digest of the prepared data."""
        return _prepared(self.file).data_hash

    @property
    def start_digest(self) -> str:
        """Digest of the model that training starts from; of the whole recipe where an older
        operator did not hand it over."""
        return _prepared(self.file).model_digest or self.recipe_hash

    @property
    def prepared_uri(self) -> str:
        """Folder of the prepared data."""
        return _prepared(self.file).uri

    @property
    def hashes(self) -> tuple[str, str]:
        """(recipe hash, data hash)."""
        return self.recipe_hash, self.data_hash

    @property
    def full_weights(self) -> bool:
        """Whether all weights train, rather than an adapter."""
        return self.file.spec.adapter.type is AdapterType.NONE

    @property
    def result_uri(self) -> str:
        """Folder of the adapter or model that this incarnation publishes."""
        return self.here.model if self.full_weights else self.here.adapter

    @property
    def result_folder(self) -> Path:
        """Its copy on this pod's disk."""
        return self.work / "publish" / ("model" if self.full_weights else "adapter")

    @property
    def report_folder(self) -> Path:
        """Report and metrics on this pod's disk."""
        return self.work / "publish" / "report"

    @property
    def micro_batch_tokens(self) -> int | None:
        """What the attempt or the job asks for."""
        return self.file.overrides.micro_batch_tokens or self.file.spec.training.micro_batch_tokens

    def scoring_settings(self, split: PreparedSplit) -> StepSettings:
        """Settings of forward passes over `split` outside training."""
        tokens = self.micro_batch_tokens or chosen_micro_batch(
            int(split.unit_lengths.max()), self.comm.device
        )
        return StepSettings.of(self.file.spec.training, tokens)

    def enter(self, stage: Stage) -> None:
        """Say that `stage` begins; raises InterruptedRunError when asked to stop."""
        self.comm.pulse.stage = stage
        self.comm.check_stop()
        if self.progress is not None:
            self.progress.enter(stage)


def open_run(
    file: RunFile,
    comm: Comm,
    store: Store,
    work: Path,
    progress: ProgressWriter | None,
    known: Known,
) -> Run:
    """The run of this rank; rank 0 names the incarnation."""
    layout = JobLayout.of(file.spec.output.uri, file.job)
    attempt_id = comm.share("attempt-id", new_attempt_id() if comm.is_first else None)
    return Run(file, comm, store, layout, layout.run(attempt_id), work, progress, known)


def new_attempt_id() -> str:
    """A name that no other incarnation has; names sort by time."""
    return f"{time.strftime('%Y%m%dt%H%M%S', time.gmtime())}-{secrets.token_hex(4)}"


def _prepared(file: RunFile) -> PreparedStatus:
    if file.prepared is None:
        raise InternalError(Reason.INTERNAL_ERROR, "the run file names no prepared data")
    return file.prepared
