"""What a check may decide: a status to write first, then actions, then when to look again."""

from dataclasses import dataclass, replace
from datetime import datetime

from finetune_api.status import FineTuneJobStatus

from finetune_operator.seen import PodSet, Seen

ABSENCE_POLL_SECONDS = 5.0


@dataclass(frozen=True)
class CheckPods:
    """Ask the API server, without making anything, whether it would take the training pods."""


@dataclass(frozen=True)
class CreatePrepare:
    """Make the preparation's ConfigMap and Job."""


@dataclass(frozen=True)
class StopPrepare:
    """Delete the preparation's Job in the foreground."""

    name: str
    uid: str


@dataclass(frozen=True)
class CreatePods:
    """Make the attempt's ConfigMap and the incarnation's pods."""

    backend: str
    attempt: int
    incarnation: int


@dataclass(frozen=True)
class StopPods:
    """Delete an incarnation in the foreground."""

    backend: str
    name: str
    uid: str

    @classmethod
    def of(cls, pods: PodSet) -> "StopPods":
        """The deletion of `pods`."""
        return cls(pods.backend, pods.name, pods.uid)


@dataclass(frozen=True)
class DeleteRunFiles:
    """Delete the ConfigMaps of the preparation and of the attempts up to `attempt`."""

    attempt: int


Action = CheckPods | CreatePrepare | StopPrepare | CreatePods | StopPods | DeleteRunFiles


@dataclass(frozen=True)
class Decision:
    """Write `status` if it differs, then do `actions` in order.

    The status goes first, so that dying in between loses nothing: what was decided is known, and
    the actions follow from it again.
    """

    label: str
    """What was decided, for logs and crash points."""
    status: FineTuneJobStatus
    actions: tuple[Action, ...] = ()
    requeue_after: float | None = None
    confirm: bool = False
    """Read the job and its children from the API server and decide again before acting."""
    awaits_absence: bool = False
    """Goes on once something is gone. No watch tells what vanished before it began, so the API
    server is asked, every `ABSENCE_POLL_SECONDS` at the latest."""

    def within(self, seconds: float) -> "Decision":
        """The same, looked at again after `seconds` at the latest."""
        sooner = seconds if self.requeue_after is None else min(self.requeue_after, seconds)
        return replace(self, requeue_after=max(sooner, 0.0))

    def until_gone(self, at_most: float) -> "Decision":
        """The same, waiting for something to vanish, for `at_most` seconds."""
        waiting = replace(self, awaits_absence=True)
        return waiting.within(min(at_most, ABSENCE_POLL_SECONDS))


@dataclass(frozen=True)
class Moment:
    """The input of every check."""

    seen: Seen
    now: datetime

    @property
    def status(self) -> FineTuneJobStatus:
        """The status as it is."""
        return self.seen.status

    @property
    def spec_grace(self) -> float:
        """Seconds in which pods that were asked to end must be gone."""
        spec = self.seen.spec
        grace = spec.pod_template.termination_grace_period_seconds if spec else 120
        return grace + 60.0
