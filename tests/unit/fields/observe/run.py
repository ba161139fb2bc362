"""Whole runs in this process: prepared, then through all stages, or up to the first step."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from unittest.mock import patch

from finetune_api.manifest import Manifest
from finetune_api.messages import LaunchMessage
from finetune_api.resolve import resolve
from finetune_api.runfile import RunFile
from finetune_api.spec import FineTuneJobSpec
from finetune_trainer.engine.distributed import Comm
from finetune_trainer.pulse import Known
from finetune_trainer.stages.context import Run, open_run
from finetune_trainer.stages.sequence import run_stages
from finetune_trainer.stages.train import Training
from finetune_trainer.storage import open_store
from finetune_trainer.storage.addresses import file_path

from tests.unit.fields.bench import Bench
from tests.unit.fields.observe.prepare import JOB, prepare


@dataclass(frozen=True)
class Ended:
    """A published run."""

    message: LaunchMessage
    job: Path
    """The job's folder."""

    @property
    def folder(self) -> Path:
        """The run's folder."""
        manifest = Manifest.model_validate_json((self.job / "manifest.json").read_bytes())
        return file_path(manifest.run_uri)


def run_to_end(bench: Bench, spec: FineTuneJobSpec) -> Ended:
    """Prepare and run the job. Raises UserError."""
    message = run_stages(open_job(bench, spec))
    return Ended(message, file_path(spec.output.uri) / JOB.namespace / JOB.name)


def begin(bench: Bench, spec: FineTuneJobSpec) -> Training:
    """Training as the stages set it up, before its first step."""
    with _stopped_at_the_first_step() as begun:
        run_stages(open_job(bench, spec))
    return begun[0]


def open_job(bench: Bench, spec: FineTuneJobSpec) -> Run:
    """The run of the job's only process, its data prepared."""
    file = RunFile(job=JOB, spec=resolve(spec), attempt=1, prepared=prepare(bench, spec).prepared)
    work = bench.fresh / "work"
    work.mkdir(exist_ok=True)
    store = open_store(spec.storage, allow_loopback=False)
    return open_run(file, Comm.alone(), store, work, None, Known())


class _ReachedError(Exception):
    """The first step would come now."""


@contextmanager
def _stopped_at_the_first_step() -> Iterator[list[Training]]:
    begun: list[Training] = []

    def stop(training: Training) -> None:
        begun.append(training)
        raise _ReachedError

    with patch.object(Training, "run_to_end", stop):
        try:
            yield begun
        except _ReachedError:
            return
    raise AssertionError("the run never came to its first step")
