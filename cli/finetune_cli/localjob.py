"""A job as it runs on this machine: identity, changed fields, and the files of one run."""

import uuid
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from finetune_api.children import Owner
from finetune_api.errors import UserError
from finetune_api.job import GROUP, FineTuneJob
from finetune_api.layout import MANIFEST
from finetune_api.lineage import WIRE_BLOCKS, job_references, with_addresses
from finetune_api.progress import PROGRESS_FILE, PROGRESS_PORT_VARIABLE
from finetune_api.reasons import Reason
from finetune_api.resolve import resolve
from finetune_api.runfile import (
    TERMINATION_LOG_VARIABLE,
    WORK_DIR_VARIABLE,
    JobIdentity,
    RunFile,
)
from finetune_api.status import ParentRole, PreparedStatus
from finetune_api.validate import unused_locally

from finetune_cli.jobfile import local_path

STATE_FOLDER = ".finetune"


@dataclass(frozen=True)
class LocalFiles:
    """What a local run writes beside its results, in OUTPUT/.finetune/NAMESPACE/NAME/."""

    root: Path

    @classmethod
    def of(cls, output: Path, job: JobIdentity) -> "LocalFiles":
        """The files of `job`, with their folders made."""
        files = cls(output / STATE_FOLDER / job.namespace / job.name)
        files.work.mkdir(parents=True, exist_ok=True)
        return files

    @property
    def work(self) -> Path:
        """Scratch folder of the trainer; kept, so that a run that goes on fetches nothing anew."""
        return self.root / "work"

    @property
    def progress(self) -> Path:
        """What rank 0 tells while it works."""
        return self.work / PROGRESS_FILE

    @property
    def lock(self) -> Path:
        """Held by the one `finetune run` of this job."""
        return self.root / "lock"

    def run_file(self, step: str) -> Path:
        """Run file of `prepare` or `launch`."""
        return self.root / f"{step}.json"

    def termination_log(self, step: str) -> Path:
        """Where the process leaves its message."""
        return self.root / f"{step}-termination.json"

    def log(self, step: str) -> Path:
        """What the process prints."""
        return self.root / f"{step}.log"

    def environment(self, step: str) -> dict[str, str]:
        """Variables of the process, beside those of this one."""
        return {
            WORK_DIR_VARIABLE: str(self.work),
            TERMINATION_LOG_VARIABLE: str(self.termination_log(step)),
            PROGRESS_PORT_VARIABLE: "0",
        }


@dataclass(frozen=True)
class LocalJob:
    """A validated job with its fields set for this machine."""

    identity: JobIdentity
    run: RunFile
    """Run file of `prepare`; `spec` is resolved."""
    unused: tuple[str, ...]
    """Fields that the job sets and this run does not use."""

    @classmethod
    def of(cls, job: FineTuneJob, processes: int | None) -> "LocalJob":
        """`job` in one pod's worth of processes on this machine.

        Raises UserError when it starts from a job whose result is not here.
        """
        meta = job.metadata.model_copy(update={"uid": local_uid(job)})
        identity = Owner.of(job.model_copy(update={"metadata": meta})).identity
        workers = job.spec.workers.model_copy(
            update={
                "nodes": 1,
                "processes_per_node": processes or job.spec.workers.processes_per_node,
            }
        )
        chained = with_addresses(job.spec, _results_of_parents(job))
        spec = resolve(chained.model_copy(update={"workers": workers}))
        run = RunFile(job=identity, spec=spec, allow_loopback=True)
        return cls(identity, run, tuple(_unused(job)))

    def launch_run(self, prepared: PreparedStatus) -> RunFile:
        """Run file of `launch`."""
        return self.run.model_copy(update={"attempt": 1, "prepared": prepared})


def _results_of_parents(job: FineTuneJob) -> dict[ParentRole, str]:
    """Folders of the jobs that `job` names, which ran here with the same output."""
    found = {}
    for role, name in job_references(job.spec).items():
        uri = f"{job.spec.output.uri.rstrip('/')}/{job.metadata.namespace}/{name}"
        if not Path(local_path(f"{uri}/{MANIFEST}")).exists():
            raise UserError(
                Reason.WAITING_FOR_PARENT,
                f"job {name} has published nothing at {local_path(uri)}: run it first, with the "
                "same --output",
                where=f"spec.{WIRE_BLOCKS[role]}.fromJob",
            )
        found[role] = uri
    return found


def local_uid(job: FineTuneJob) -> str:
    """The same uid for the same namespace and name, so that a rerun goes on where one stopped."""
    name = f"{job.metadata.namespace}/{job.metadata.name}.{GROUP}"
    return str(uuid.uuid5(uuid.NAMESPACE_DNS, name))


def _unused(job: FineTuneJob) -> Iterator[str]:
    yield from unused_locally(job)
    if job.spec.workers.nodes > 1:
        yield "workers.nodes"
