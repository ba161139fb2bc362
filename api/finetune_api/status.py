"""What the operator writes back: the status of a FineTuneJob."""

from enum import StrEnum
from typing import Annotated

from pydantic import Field

from finetune_api.fields import ApiModel
from finetune_api.progress import Number, Progress
from finetune_api.spec import Adapter, Dpo, Grpo, Kto, Orpo, Ppo, Reward, Strategy, Training
from finetune_api.units import Unit

Text = Annotated[str, Field(max_length=1024)]
Timestamp = Annotated[str, Field(max_length=32)]
"""RFC 3339 in UTC with seconds, as metav1.Time."""
Count = Annotated[int, Field(ge=0, le=9_000_000_000_000)]
PodUid = Annotated[str, Field(max_length=64)]
Digest = Annotated[str, Field(max_length=64)]
"""SHA-256 in hexadecimal."""

MAX_ATTEMPTS_KEPT = 10


class Phase(StrEnum):
    """One word for people; programs read the conditions."""

    PENDING = "Pending"
    PREPARING = "Preparing"
    QUEUED = "Queued"
    RUNNING = "Running"
    RESTARTING = "Restarting"
    SUSPENDED = "Suspended"
    COMPLETE = "Complete"
    FAILED = "Failed"


TERMINAL_PHASES = frozenset({Phase.COMPLETE, Phase.FAILED})


class ConditionType(StrEnum):
    """The conditions of a job."""

    ACCEPTED = "Accepted"
    DATA_READY = "DataReady"
    SUSPENDED = "Suspended"
    COMPLETE = "Complete"
    FAILED = "Failed"
    FINISHED = "Finished"
    RECONCILING = "Reconciling"
    STALLED = "Stalled"


class ConditionStatus(StrEnum):
    """Three-valued truth of Kubernetes conditions."""

    TRUE = "True"
    FALSE = "False"
    UNKNOWN = "Unknown"


class Condition(ApiModel):
    """A metav1.Condition."""

    type: Annotated[str, Field(max_length=64)]
    """Accepted, DataReady, Suspended, Complete, Failed, Finished, Reconciling or Stalled."""
    status: ConditionStatus
    """True, False or Unknown."""
    observed_generation: Count = 0
    """Generation of the spec that this was said of."""
    last_transition_time: Timestamp
    """When the status last changed."""
    reason: Annotated[str, Field(max_length=64)]
    """One word from docs/reference/reasons.md."""
    message: Annotated[str, Field(max_length=2048)] = ""
    """What happened and what to do."""


class Effective(ApiModel):
    """What the job runs with after defaults that depend on the method."""

    adapter: Adapter
    """The adapter."""
    training: Training
    """The optimisation."""
    dpo: Dpo | None = None
    """Settings of method DPO."""
    kto: Kto | None = None
    """Settings of method KTO."""
    reward: Reward | None = None
    """Settings of method Reward."""
    orpo: Orpo | None = None
    """Settings of method ORPO."""
    ppo: Ppo | None = None
    """Settings of method PPO."""
    grpo: Grpo | None = None
    """Settings of method GRPO."""
    strategy: Strategy
    """How processes share the work."""


class RowError(ApiModel):
    """One row at fault; its values are never shown."""

    file: Text
    """Address of the source."""
    row: Count
    """Line of a JSONL file, or position in a JSON array, from 1."""
    field: Annotated[str, Field(max_length=128)] | None = None
    """Column at fault."""
    message: Annotated[str, Field(max_length=256)]
    """What is wrong."""


class CheckFinding(ApiModel):
    """What one check found; no value is shown."""

    check: Annotated[str, Field(max_length=32)]
    """Name of the check in spec.data.checks."""
    mode: Annotated[str, Field(max_length=16)]
    """What the job asks for: Report, Redact, DropRows or Fail."""
    rows: Count
    """Rows or sources in which it found something."""
    message: Annotated[str, Field(max_length=256)]
    """What it is, and what to do."""


class DataStatus(ApiModel):
    """What the preparation found."""

    unit: Unit = Unit.ROW
    """What rows and evaluationRows count: rows (SFT, KTO, and any data that is refused), pairs
    (DPO, ORPO), comparisons (Reward), prompts (PPO, GRPO) or blocks (CPT)."""
    rows: Count
    """Training rows, pairs or blocks kept."""
    evaluation_rows: Count = 0
    """Held-out rows, pairs or blocks."""
    dropped: Count = 0
    """Rows of the sources left out, whatever the unit."""
    tokens: Count = 0
    """Training tokens in one epoch; with mixing Interleave or replay, on average."""
    report_uri: Annotated[str, Field(max_length=1200)] | None = None
    """Address of the data report."""
    first_errors: Annotated[list[RowError] | None, Field(max_length=20)] = None
    """The first rows at fault."""
    findings: Annotated[list[CheckFinding] | None, Field(max_length=16)] = None
    """What the checks found; the rows stand in the report."""


class Measurement(ApiModel):
    """One measurement of the model on held-out rows."""

    cross_entropy: Number | None = None
    """Mean cross entropy in nats per label token, of pairs that of the chosen completions; of a
    reward model per pair of answers. Absent where rows hold no answer (PPO, GRPO)."""
    reward_mean: Number | None = None
    """Mean reward of the answers that the model writes to held-out prompts (PPO, GRPO)."""
    preference_accuracy: Number | None = None
    """Share of held-out pairs whose chosen completion the model finds likelier, or a reward model
    better, than the rejected one; only of pairs."""
    answer: Annotated[str, Field(max_length=512)] | None = None
    """Answer to the sample question, cut to fit."""


class EvaluationStatus(ApiModel):
    """The model before and after training."""

    question: Annotated[str, Field(max_length=512)] | None = None
    """The sample question, from the held-out rows."""
    before: Measurement | None = None
    """The model that training started from."""
    after: Measurement | None = None
    """The trained model."""


class Attempt(ApiModel):
    """How one incarnation (one set of pods) ended."""

    attempt: Count
    """Counted attempt that it belongs to, from 1."""
    incarnation: Count
    """Number of the set of pods, from 1."""
    outcome: Annotated[str, Field(max_length=32)]
    """Done, UserError, OutOfMemory, Interrupted, Infrastructure, Internal, PodLost, NotStarted."""
    reason: Annotated[str, Field(max_length=64)]
    """One word from docs/reference/reasons.md."""
    message: Text = ""
    """What happened."""
    pod: Annotated[str, Field(max_length=253)] | None = None
    """Pod that ended first."""
    exit_code: Annotated[int, Field(ge=0, le=255)] | None = None
    """Its exit code."""
    last_step: Count | None = None
    """Last step that it did, as far as the operator saw."""
    lost_steps: Count | None = None
    """Steps up to lastStep that were done again, as no checkpoint held them; known once the next
    set of pods trains, or from the pod's last words."""
    restart_seconds: Count | None = None
    """Seconds from this end until all pods of the next set ran; absent after a suspension."""
    started_at: Timestamp | None = None
    """When the pods were asked for."""
    ended_at: Timestamp
    """When the end was seen."""


class OutputStatus(ApiModel):
    """The published result."""

    uri: Annotated[str, Field(max_length=1200)]
    """Folder of the adapter or model."""
    manifest_sha256: Digest
    """Digest of manifest.json."""
    base_model: Annotated[str, Field(max_length=1024)]
    """Base that the adapter belongs to."""


class ParentRole(StrEnum):
    """What another job's result is to this one."""

    MODEL = "Model"
    REWARD_MODEL = "RewardModel"


class ParentStatus(ApiModel):
    """A job that this one starts from, pinned when it was complete."""

    role: ParentRole
    """Model (spec.model.fromJob) or RewardModel (spec.rewardModel.fromJob)."""
    name: Annotated[str, Field(max_length=63)]
    """Its name."""
    uid: Annotated[str, Field(max_length=64)]
    """Its UID; a job of the same name made later changes nothing."""
    uri: Annotated[str, Field(max_length=1200)]
    """Folder of the run that it published."""
    manifest_sha256: Digest
    """Digest of the manifest.json there."""


class PreparedStatus(ApiModel):
    """Where the prepared tokens lie."""

    uri: Annotated[str, Field(max_length=1200)]
    """Folder of tokens and spans."""
    data_hash: Digest
    """Digest of rows, tokenizer, template and code."""
    recipe_hash: Digest
    """Digest of all that changes the result."""
    model_digest: Digest | None = None
    """Digest of the model that training starts from."""


class PodsStatus(ApiModel):
    """The current set of training pods; what tells a lost pod from one that never was."""

    uid: Annotated[str, Field(max_length=64)]
    """UID of the object that makes the pods."""
    pod_uids: Annotated[list[PodUid] | None, Field(max_length=100)] = None
    """UIDs of the pods once all of them exist; another UID ends the incarnation."""
    waiting_since: Timestamp | None = None
    """Since when the pods are awaited; absent while a queue holds them."""
    running_since: Timestamp | None = None
    """Since when all of them run."""


NOT_OBSERVED = -1
"""observedGeneration of a job that no operator has seen, so that kstatus waits for one."""


class FineTuneJobStatus(ApiModel):
    """What is known of the job."""

    observed_generation: Annotated[int, Field(ge=NOT_OBSERVED, le=9_000_000_000_000)] = NOT_OBSERVED
    """Generation of the spec that this status speaks of; -1 before any."""
    phase: Phase = Phase.PENDING
    """One word for people."""
    conditions: Annotated[list[Condition], Field(max_length=16)] = Field(default_factory=list)
    """Accepted, DataReady, Suspended, Complete, Failed, Finished, Reconciling, Stalled."""
    attempt: Count = 0
    """Counted attempt, from 1; 0 before the first."""
    incarnation: Count = 0
    """Sets of pods asked for so far."""
    backend: Annotated[str, Field(max_length=32)] | None = None
    """Kind of the object that runs the pods, the same for all attempts: PyTorchJob or Job."""
    pods: PodsStatus | None = None
    """The current set of training pods."""
    micro_batch_tokens: Count | None = None
    """Micro-batch of the next attempt after one ran out of memory."""
    effective: Effective | None = None
    """Settings after defaults."""
    parents: Annotated[list[ParentStatus], Field(max_length=2)] | None = None
    """Jobs whose results this one starts from, once all of them are complete."""
    prepared: PreparedStatus | None = None
    """Where the prepared tokens lie."""
    progress: Progress | None = None
    """How far training is."""
    data: DataStatus | None = None
    """What the preparation found."""
    attempts: Annotated[list[Attempt] | None, Field(max_length=MAX_ATTEMPTS_KEPT)] = None
    """How the last incarnations ended, oldest first."""
    counted_failures: Count = 0
    """Failures that used up one of restarts.max."""
    retry_at: Timestamp | None = None
    """Earliest time of the next set of pods."""
    evaluation: EvaluationStatus | None = None
    """The model before and after."""
    output: OutputStatus | None = None
    """The published result."""
    start_time: Timestamp | None = None
    """When work on the job began."""
    completion_time: Timestamp | None = None
    """When the job ended."""
