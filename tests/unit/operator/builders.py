"""Jobs, pods and children as the API server would show them, for tests of the operator."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

from finetune_api.exits import Outcome, exit_code
from finetune_api.messages import LaunchMessage, PrepareMessage, encode
from finetune_api.reasons import Reason
from finetune_api.runfile import JobIdentity
from finetune_api.spec import FineTuneJobSpec
from finetune_api.status import (
    DataStatus,
    FineTuneJobStatus,
    OutputStatus,
    Phase,
    PreparedStatus,
)
from finetune_operator.decide.chain import decide
from finetune_operator.decide.decision import Decision
from finetune_operator.seen import (
    Backends,
    Finish,
    Pod,
    PodPhase,
    PodSet,
    PrepareJob,
    Seen,
    Terminated,
)

START = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)
IDENTITY = JobIdentity(
    namespace="team-a", name="support", uid="11112222-3333-4444-5555-666677778888"
)
PREPARED = PreparedStatus(uri="s3://artifacts/prepared/aa", data_hash="aa", recipe_hash="bb")
OUTPUT = OutputStatus(uri="s3://artifacts/x/adapter", manifest_sha256="cc", base_model="base")
BOTH_SERVED = Backends(served=frozenset({"PyTorchJob", "Job"}))
JOB_ONLY = Backends(served=frozenset({"Job"}))
DATA = DataStatus(rows=90, evaluation_rows=10, tokens=9000)


def spec_with(**fields: Any) -> FineTuneJobSpec:
    """A small valid spec; `fields` are wire names."""
    return FineTuneJobSpec.parse_wire(
        {
            "method": "SFT",
            "model": {"uri": "s3://models/tiny"},
            "data": {"train": [{"uri": "s3://data/rows.jsonl"}]},
            "output": {"uri": "s3://artifacts/team"},
            **fields,
        }
    )


def seen_with(**fields: Any) -> Seen:
    """A job that was just created and whose pods the API server would take."""
    base = Seen(IDENTITY, 1, False, spec_with(), "", FineTuneJobStatus())
    return replace(base, backends=BOTH_SERVED, pods_checked=True, **fields)


def launch_text(outcome: Outcome, reason: Reason, **fields: Any) -> str:
    """A termination message of a training pod."""
    return encode(LaunchMessage(outcome=outcome, reason=reason, **fields)).decode()


def prepare_text(outcome: Outcome, reason: Reason, **fields: Any) -> str:
    """A termination message of a preparation pod."""
    return encode(PrepareMessage(outcome=outcome, reason=reason, **fields)).decode()


PUBLISHED_TEXT = launch_text(
    Outcome.DONE, Reason.PUBLISHED, output=OUTPUT, recipe_hash="bb", last_step=12
)
PREPARED_TEXT = prepare_text(Outcome.DONE, Reason.DATA_READY, prepared=PREPARED, data=DATA)


def ended(text: str, code: int, *, after: float = 0, reason: str = "Error") -> Terminated:
    """A container that ended `after` seconds from START."""
    return Terminated(code, reason, text, START + timedelta(seconds=after))


def told(outcome: Outcome, reason: Reason, *, after: float = 0, **fields: Any) -> Terminated:
    """A training container that ended with a message."""
    return ended(launch_text(outcome, reason, **fields), int(exit_code(outcome)), after=after)


def train_pod(index: int = 0, incarnation: int = 1, **fields: Any) -> Pod:
    """Pod of rank `index`: the master, or a worker."""
    kind = "master-0" if index == 0 else f"worker-{index - 1}"
    name = f"support-11112222-{incarnation}-{kind}"
    base = Pod(name, f"uid-{incarnation}-{index}", "train", incarnation, PodPhase.PENDING, START)
    return replace(base, **fields)


def prepare_pod(**fields: Any) -> Pod:
    """A pod of the preparation."""
    base = Pod("support-prepare-x", "uid-p", "prepare", 0, PodPhase.PENDING, START)
    return replace(base, **fields)


def prepare_job(**fields: Any) -> PrepareJob:
    """The preparation's Job."""
    return replace(PrepareJob("support-11112222-prepare", "uid-j", started=START), **fields)


def pod_set(incarnation: int = 1, **fields: Any) -> PodSet:
    """An incarnation's PyTorchJob."""
    name, uid = f"support-11112222-{incarnation}", f"set-{incarnation}"
    base = PodSet("PyTorchJob", name, uid, incarnation, START)
    return replace(base, **fields)


def job_document(name: str, spec: dict[str, Any] | None = None, **fields: Any) -> dict[str, Any]:
    """A FineTuneJob as the API server shows it; `fields` go into its spec."""
    wire = spec_with().to_wire() if spec is None else spec
    return {
        "apiVersion": "finetune.dev/v1alpha1",
        "kind": "FineTuneJob",
        "metadata": {
            "name": name,
            "namespace": IDENTITY.namespace,
            "uid": f"{name}-1111-2222",
            "resourceVersion": "1",
            "generation": 1,
        },
        "spec": {**wire, **fields},
    }


def complete_job(name: str, **fields: Any) -> dict[str, Any]:
    """The same once it has published s3://artifacts/NAME/run/adapter."""
    output = OutputStatus(
        uri=f"s3://artifacts/{name}/run/adapter", manifest_sha256=name, base_model="base"
    )
    status = FineTuneJobStatus(phase=Phase.COMPLETE, output=output)
    return {**job_document(name, **fields), "status": status.to_wire()}


class World:
    """Plays a job forward: the decision's status becomes the next status."""

    def __init__(self, **spec: Any) -> None:
        self.seen = seen_with(spec=spec_with(**spec))
        self.now = START
        self.last: Decision | None = None

    @property
    def status(self) -> FineTuneJobStatus:
        return self.seen.status

    @property
    def phase(self) -> Phase:
        return self.seen.status.phase

    def see(self, **fields: Any) -> "World":
        """Change what is seen."""
        self.seen = replace(self.seen, **fields)
        return self

    def wait(self, seconds: float) -> "World":
        """Let time pass."""
        self.now += timedelta(seconds=seconds)
        return self

    def step(self) -> Decision:
        """One decision."""
        self.last = decide(self.seen, self.now)
        status = FineTuneJobStatus.parse_wire(self.last.status.to_wire())
        self.seen = replace(self.seen, status=status)
        return self.last

    def condition(self, kind: str) -> tuple[str, str]:
        """(status, reason) of a condition."""
        found = next((c for c in self.status.conditions if c.type == kind), None)
        return (found.status, found.reason) if found else ("absent", "")

    def message(self, kind: str) -> str:
        """Message of a condition."""
        return next(c.message for c in self.status.conditions if c.type == kind)

    def prepared(self) -> "World":
        """Play the preparation to its good end."""
        self.step()
        done = ended(PREPARED_TEXT, 0)
        self.see(
            prepare_job=prepare_job(finish=Finish.SUCCEEDED),
            prepare_pods=(prepare_pod(phase=PodPhase.SUCCEEDED, terminated=done),),
        )
        self.step()
        return self

    def launched(self) -> "World":
        """Play until the first incarnation is asked for."""
        self.prepared().step()
        return self

    def running(self, incarnation: int = 1) -> "World":
        """Play until all pods of an incarnation run."""
        if incarnation == 1:
            self.launched()
        nodes = self.seen.spec.workers.nodes if self.seen.spec else 1
        pods = tuple(train_pod(i, incarnation, phase=PodPhase.RUNNING) for i in range(nodes))
        self.see(pod_sets=(pod_set(incarnation),), train_pods=pods)
        self.step()
        return self
