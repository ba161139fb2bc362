"""What the operator sees of one job: frozen views that the decisions read.

`Seen` is a snapshot; nothing in it is a raw Kubernetes document but the job's own manifest.
"""

from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum

from finetune_api.exits import Outcome
from finetune_api.progress import Progress
from finetune_api.reasons import Reason
from finetune_api.runfile import JobIdentity
from finetune_api.spec import FineTuneJobSpec
from finetune_api.status import FineTuneJobStatus, OutputStatus, ParentRole


class Finish(StrEnum):
    """How an object that runs pods ended."""

    SUCCEEDED = "Succeeded"
    FAILED = "Failed"


class PodPhase(StrEnum):
    """Kubernetes' phases of a pod."""

    PENDING = "Pending"
    RUNNING = "Running"
    SUCCEEDED = "Succeeded"
    FAILED = "Failed"
    UNKNOWN = "Unknown"


@dataclass(frozen=True)
class Terminated:
    """How the pod's main container ended."""

    exit_code: int
    reason: str
    text: str
    """Termination message, or the log's tail."""
    at: datetime | None


@dataclass(frozen=True)
class Obstacle:
    """What keeps a pod or child from starting."""

    reason: Reason
    message: str


@dataclass(frozen=True)
class Pod:
    """One pod of a job."""

    name: str
    uid: str
    role: str
    incarnation: int
    phase: PodPhase
    created: datetime
    ip: str | None = None
    deleted_at: datetime | None = None
    """When the deletion was asked for."""
    gone: bool = False
    """Seen deleted; this is its last state."""
    disrupted: str | None = None
    """Words of its DisruptionTarget condition, or of an eviction."""
    failure: str = ""
    """The pod's own reason and message when it failed as a whole."""
    waiting_for: Obstacle | None = None
    terminated: Terminated | None = None

    @property
    def active(self) -> bool:
        """Whether its processes may still run."""
        return not self.gone and self.phase not in {PodPhase.SUCCEEDED, PodPhase.FAILED}

    @property
    def started(self) -> bool:
        """Whether its main container runs or has run."""
        return self.phase in {PodPhase.RUNNING, PodPhase.SUCCEEDED} or self.terminated is not None


@dataclass(frozen=True)
class PrepareJob:
    """The batch Job that prepares the data."""

    name: str
    uid: str
    started: datetime | None = None
    """When the Job controller took it up; anew after a queue held it."""
    deleted_at: datetime | None = None
    suspended: bool = False
    finish: Finish | None = None
    message: str = ""


@dataclass(frozen=True)
class PodSet:
    """One incarnation as the backend runs it."""

    backend: str
    """Name of the backend whose object it is."""
    name: str
    uid: str
    incarnation: int
    created: datetime
    taken_up: bool = True
    """The backend's controller has written something to its status."""
    deleted_at: datetime | None = None
    suspended: bool = False
    """A queue holds it back."""
    finish: Finish | None = None
    message: str = ""


@dataclass(frozen=True)
class ParentJob:
    """A FineTuneJob that a job names, as it is now."""

    uid: str
    phase: str
    deleting: bool
    method: str
    stop_after: str | None
    endpoint: str | None
    """Of the store that it publishes to."""
    failure: str
    """Reason and message of its condition Failed, when that is True."""
    output: OutputStatus | None


@dataclass(frozen=True)
class Parent:
    """A name in a spec, and the job of that name, if there is one."""

    role: ParentRole
    name: str
    job: ParentJob | None


@dataclass(frozen=True)
class PodEnd:
    """How one pod ended, judged."""

    pod: Pod
    outcome: str
    """An `Outcome`, or PodLost."""
    reason: Reason
    message: str
    at: datetime
    exit_code: int | None = None
    last_step: int | None = None
    checkpoint_step: int | None = None
    """Step that the next incarnation goes on from, where the pod knew."""

    @property
    def done(self) -> bool:
        """Whether the pod did its work."""
        return self.outcome == Outcome.DONE


AUTO = "Auto"


@dataclass(frozen=True)
class Backends:
    """What may run pods."""

    setting: str = AUTO
    """The platform's: Auto, or the name of a backend."""
    served: frozenset[str] = frozenset()
    """Names of the backends whose kind the API server has."""


@dataclass(frozen=True)
class Seen:
    """A job with everything that belongs to it at one moment."""

    identity: JobIdentity
    generation: int
    deleting: bool
    spec: FineTuneJobSpec | None
    """None when the manifest breaks a rule."""
    invalid: str
    """What it breaks."""
    status: FineTuneJobStatus
    prepare_job: PrepareJob | None = None
    pod_sets: tuple[PodSet, ...] = ()
    prepare_pods: tuple[Pod, ...] = ()
    train_pods: tuple[Pod, ...] = ()
    """Pods of all incarnations, those that are gone included."""
    backends: Backends = Backends()
    progress: Progress | None = None
    """A fresh report that may be written now."""
    obstacle: Obstacle | None = None
    """Why the last creation of a child was refused."""
    pods_checked: bool = False
    """The API server was asked whether it would take the training pods."""
    retry_seconds: float = 10.0
    parents: tuple[Parent, ...] = ()
    """The jobs that the spec names, until they are pinned in the status."""
    cycle: tuple[str, ...] = ()
    """Names of jobs that wait for each other in a circle, this one first and last."""
    newer: bool = False
    """The manifest has fields that only a newer operator knows."""

    def pod_set(self, incarnation: int) -> PodSet | None:
        """The object that runs an incarnation."""
        return next((s for s in self.pod_sets if s.incarnation == incarnation), None)
