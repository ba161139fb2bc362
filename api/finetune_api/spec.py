"""What a user writes: the spec of a FineTuneJob (group finetune.dev, version v1alpha1).

The CRD, the run file, the command line's checks and the API reference all derive from here.
A field marked `RECIPE` changes the result and is part of the recipe hash. Fields that may be
left out are `None` until `finetune_api.resolve` fills them in.
"""

from enum import StrEnum
from typing import Annotated, ClassVar

from pydantic import Field

from finetune_api.fields import (
    RECIPE,
    ApiModel,
    DecimalBelowOne,
    DecimalNonNegative,
    DecimalOpenShare,
    DecimalPositive,
    DecimalShare,
    LongText,
    Name,
    Opaque,
    Quantity,
    Rule,
    ShortText,
    quantity_value,
)

Uri = Annotated[
    str,
    Field(
        min_length=6,
        max_length=1024,
        pattern=r"^(s3://[^\s?#/][^\s?#]*|file:///[^\s?#]*[^\s?#/][^\s?#]*)$",
    ),
]
"""`s3://BUCKET/KEY`, or `file:///PATH` in local runs."""

ModelUri = Annotated[
    str,
    Field(
        min_length=6,
        max_length=1024,
        pattern=r"^(s3://[^\s?#/][^\s?#]*|file:///[^\s?#]*[^\s?#/][^\s?#]*"
        r"|hf://[0-9A-Za-z][-._0-9A-Za-z]*/[0-9A-Za-z][-._0-9A-Za-z]*(@[0-9A-Za-z][-._0-9A-Za-z]*)?)$",
    ),
]
"""The same, or `hf://ORG/NAME@REVISION` on the Hugging Face Hub; without @REVISION it is main."""

HUB_SCHEME = "hf://"

_LOCAL_ONLY = "file:// works only in local runs (`finetune run`); on a cluster write "


def _uri_is_s3(model: "DataSource | Output") -> bool:
    return model.uri.startswith("s3://")


_URI_IS_S3 = Rule("self.uri.startsWith('s3://')", f"{_LOCAL_ONLY}s3://BUCKET/KEY", _uri_is_s3)


def _uri_is_remote(model: "ModelSource") -> bool:
    return model.uri.startswith(("s3://", HUB_SCHEME))


_URI_IS_REMOTE = Rule(
    f"self.uri.startsWith('s3://') || self.uri.startsWith('{HUB_SCHEME}')",
    f"{_LOCAL_ONLY}s3://BUCKET/KEY or hf://ORG/NAME@REVISION",
    _uri_is_remote,
)


class Method(StrEnum):
    """How the model is tuned."""

    SFT = "SFT"


class ModelSource(ApiModel):
    """The model that training starts from."""

    CLUSTER_RULES: ClassVar[tuple[Rule, ...]] = (_URI_IS_REMOTE,)

    uri: Annotated[ModelUri, RECIPE]
    """Folder of a Transformers model: config.json, safetensors weights, a tokenizer. In S3, or
    hf://ORG/NAME@REVISION on the Hugging Face Hub; only a commit there stays what it is."""
    id: ShortText | None = None
    """Public name written as the base into adapter_config.json; when absent the URI, or ORG/NAME
    of an hf:// address."""
    license: ShortText | None = None
    """SPDX name of the model's licence, for the model card."""

    def on_hub(self) -> bool:
        """Whether the model lies on the Hugging Face Hub."""
        return self.uri.startswith(HUB_SCHEME)

    def public_name(self) -> str:
        """What others call the model: `id`, or what its address says."""
        if self.id is None and self.on_hub():
            return self.uri.removeprefix(HUB_SCHEME).partition("@")[0]
        return self.id or self.uri


class RowFormat(StrEnum):
    """Shape of a source's rows."""

    AUTO = "Auto"
    INSTRUCTION = "Instruction"
    MESSAGES = "Messages"


class DataSource(ApiModel):
    """Rows in one JSON or JSONL object."""

    CLUSTER_RULES: ClassVar[tuple[Rule, ...]] = (_URI_IS_S3,)

    uri: Annotated[Uri, RECIPE]
    """Object of JSON lines, or one JSON array of rows."""
    format: Annotated[RowFormat, RECIPE] = RowFormat.AUTO
    """Instruction: instruction, context, response (dolly, alpaca). Messages: a list of turns
    (role and content, or ShareGPT's from and value). Auto looks at the rows."""
    fields: Annotated[dict[str, ShortText] | None, RECIPE, Field(max_length=16)] = None
    """Column map: our name (instruction, context, response, messages, system) to the column."""
    template: Annotated[LongText | None, RECIPE] = None
    """Jinja template of the user's turn of Instruction rows, over instruction and context."""
    license: ShortText | None = None
    """SPDX name of the rows' licence, for the model card."""


class DataChecks(ApiModel):
    """How many bad rows a job may drop before it is refused."""

    max_invalid_rows: Annotated[int, RECIPE, Field(ge=0, le=1_000_000_000)] = 0
    """Rows that may be unparsable, empty or lack a field; more than these fail the job."""
    max_too_long_share: Annotated[DecimalShare, RECIPE] = "0.05"
    """Share of rows that may be longer than training.sequenceLength; they are dropped."""


class Data(ApiModel):
    """Rows to train on and rows to measure on."""

    train: Annotated[list[DataSource], RECIPE, Field(min_length=1, max_length=32)]
    """Sources of training rows; each is read once an epoch."""
    evaluation: Annotated[list[DataSource] | None, RECIPE, Field(min_length=1, max_length=32)] = (
        None
    )
    """Held-out rows; when absent a share of the training rows is held out."""
    evaluation_fraction: Annotated[DecimalOpenShare | None, RECIPE] = None
    """Share of training rows held out when evaluation is absent."""
    checks: DataChecks = Field(default_factory=DataChecks)
    """Limits on bad rows."""

    RULES: ClassVar[tuple[Rule, ...]] = (
        Rule(
            "!(has(self.evaluation) && has(self.evaluationFraction))",
            "give evaluation rows or evaluationFraction, not both",
            lambda data: data.evaluation is None or data.evaluation_fraction is None,
        ),
    )


class AdapterType(StrEnum):
    """What is trained."""

    LORA = "LoRA"
    NONE = "None"


class Adapter(ApiModel):
    """Low-rank adapters against catastrophic forgetting, or full weights."""

    RULES: ClassVar[tuple[Rule, ...]] = (
        Rule(
            "self.type != 'None' || !(has(self.rank) || has(self.alpha) || has(self.dropout)"
            " || has(self.targetModules))",
            "type None trains all weights: remove rank, alpha, dropout and targetModules",
            lambda adapter: (
                adapter.type is not AdapterType.NONE
                or (adapter.rank, adapter.alpha, adapter.dropout, adapter.target_modules)
                == (None, None, None, None)
            ),
        ),
    )

    type: Annotated[AdapterType, RECIPE] = AdapterType.LORA
    """LoRA, or None for full weights."""
    rank: Annotated[int | None, RECIPE, Field(ge=1, le=1024)] = None
    """Rank of the update; 16 when absent."""
    alpha: Annotated[int | None, RECIPE, Field(ge=1, le=4096)] = None
    """Scale of the update: it is multiplied by alpha / rank; 32 when absent."""
    dropout: Annotated[DecimalBelowOne | None, RECIPE] = None
    """Dropout before the low-rank update; 0.05 for SFT when absent."""
    target_modules: Annotated[
        list[ShortText] | None, RECIPE, Field(min_length=1, max_length=64)
    ] = None
    """Names of linear layers, or all-linear (when absent)."""


class Scheduler(StrEnum):
    """Course of the learning rate after warm-up."""

    COSINE = "Cosine"
    LINEAR = "Linear"
    CONSTANT = "Constant"


class Precision(StrEnum):
    """Type of the computation; parameters that train stay fp32."""

    BF16 = "BF16"
    FP32 = "FP32"


class Training(ApiModel):
    """The optimisation."""

    RULES: ClassVar[tuple[Rule, ...]] = (
        Rule(
            "!(has(self.epochs) && has(self.maxSteps))",
            "give epochs or maxSteps, not both",
            lambda training: training.epochs is None or training.max_steps is None,
        ),
    )

    epochs: Annotated[DecimalPositive | None, RECIPE] = None
    """Passes over the training rows; "1" when maxSteps is absent too."""
    max_steps: Annotated[int | None, RECIPE, Field(ge=1, le=100_000_000)] = None
    """Optimizer steps, in place of epochs."""
    global_batch_size: Annotated[int, RECIPE, Field(ge=1, le=1_000_000)] = 64
    """Rows in one optimizer step, over all processes; the last of an epoch may have fewer."""
    micro_batch_tokens: Annotated[int | None, Field(ge=16, le=16_777_216)] = None
    """Largest number of tokens in one forward pass of one process; chosen when absent."""
    sequence_length: Annotated[int, RECIPE, Field(ge=16, le=1_048_576)] = 4096
    """Longest row in tokens; longer rows are dropped and counted."""
    packing: bool = True
    """Several rows in one forward pass without padding; changes speed, not the result."""
    learning_rate: Annotated[DecimalPositive | None, RECIPE] = None
    """Peak learning rate; "2e-4" for LoRA and "2e-5" for full weights when absent."""
    scheduler: Annotated[Scheduler, RECIPE] = Scheduler.COSINE
    """Course of the learning rate after warm-up."""
    warmup_ratio: Annotated[DecimalBelowOne, RECIPE] = "0.03"
    """Share of all steps in which the learning rate rises from 0."""
    min_learning_rate_ratio: Annotated[DecimalShare, RECIPE] = "0"
    """Learning rate at the end as a share of the peak (Cosine and Linear)."""
    weight_decay: Annotated[DecimalNonNegative, RECIPE] = "0"
    """AdamW's decoupled weight decay."""
    max_grad_norm: Annotated[DecimalPositive, RECIPE] = "1"
    """Gradients are scaled down to this norm."""
    precision: Annotated[Precision, RECIPE] = Precision.BF16
    """Type of the computation."""
    gradient_checkpointing: bool = True
    """Recompute activations in the backward pass: less memory, more time."""
    seed: Annotated[int, RECIPE, Field(ge=0, le=2_147_483_647)] = 42
    """Seed of everything random."""
    max_skipped_steps: Annotated[int, Field(ge=0, le=1_000_000)] = 10
    """Steps with a loss or gradient that is not finite before the run gives up."""


class Evaluation(ApiModel):
    """Measurements before and after training."""

    enabled: bool = True
    """Measure cross entropy and generate an answer before and after training."""
    max_new_tokens: Annotated[int, Field(ge=1, le=8192)] = 256
    """Longest generated answer in tokens."""


class Strategy(StrEnum):
    """How processes share the work."""

    AUTO = "Auto"
    DDP = "DDP"


class Resources(ApiModel):
    """Requests and limits of one pod, any vendor's accelerator included."""

    requests: Annotated[dict[str, Quantity] | None, Field(max_length=16)] = None
    """What the scheduler sets aside."""
    limits: Annotated[dict[str, Quantity] | None, Field(max_length=16)] = None
    """What the pod may not exceed."""

    def accelerators(self) -> int:
        """Number of accelerators in one pod: every extended resource whose name says GPU."""
        counts = {**(self.requests or {}), **(self.limits or {})}
        return sum(
            int(quantity_value(amount))
            for name, amount in counts.items()
            if "/" in name and name.rpartition("/")[2] in ACCELERATOR_RESOURCES
        )


ACCELERATOR_RESOURCES = frozenset({"gpu", "gpu.shared"})
"""Names after the vendor's domain: nvidia.com/gpu, amd.com/gpu."""


class Workers(ApiModel):
    """The training pods."""

    nodes: Annotated[int, Field(ge=1, le=100)] = 1
    """Pods."""
    processes_per_node: Annotated[int, Field(ge=1, le=64)] = 1
    """Accelerators of each pod, or CPU processes where it has none."""
    strategy: Strategy = Strategy.AUTO
    """Auto chooses DDP."""
    resources: Resources | None = None
    """Requests and limits of each pod."""


class Preparation(ApiModel):
    """The CPU job that checks the data and turns it into tokens."""

    resources: Resources | None = None
    """Requests and limits of its pod."""


RESERVED_VARIABLES = (
    "HOME",
    "HF_HUB_OFFLINE",
    "HF_HUB_DISABLE_TELEMETRY",
    "AWS_ACCESS_KEY_ID",
    "AWS_SECRET_ACCESS_KEY",
    "HF_TOKEN",
)
"""Variables that the operator sets; so are all whose names begin with FINETUNE_."""


class EnvironmentVariable(ApiModel):
    """A literal environment variable of the training container."""

    RULES: ClassVar[tuple[Rule, ...]] = (
        Rule(
            f"!self.name.startsWith('FINETUNE_') && !(self.name in {list(RESERVED_VARIABLES)})",
            "the operator sets this variable; keys and tokens belong in the Secret that "
            "storage.credentialsSecretName names",
            lambda variable: (
                not variable.name.startswith("FINETUNE_")
                and variable.name not in RESERVED_VARIABLES
            ),
        ),
    )

    name: Annotated[str, Field(min_length=1, max_length=128, pattern=r"^[A-Za-z_][A-Za-z0-9_]*$")]
    """Name."""
    value: LongText
    """Value."""


class LocalReference(ApiModel):
    """An object in the job's namespace."""

    name: Name
    """Its name."""


class PodTemplate(ApiModel):
    """What the platform needs on training and preparation pods."""

    node_selector: Annotated[dict[str, LongText] | None, Field(max_length=32)] = None
    """Labels of the nodes to use."""
    tolerations: Annotated[list[Opaque] | None, Field(max_length=32)] = None
    """Kubernetes tolerations."""
    affinity: Opaque | None = None
    """Kubernetes affinity."""
    service_account_name: Name | None = None
    """ServiceAccount of the pods, for workload identity towards S3."""
    image_pull_secrets: Annotated[list[LocalReference] | None, Field(max_length=16)] = None
    """Secrets to pull images with."""
    env: Annotated[list[EnvironmentVariable] | None, Field(max_length=64)] = None
    """Literal environment variables."""
    labels: Annotated[dict[str, LongText] | None, Field(max_length=32)] = None
    """Labels added to the pods."""
    annotations: Annotated[dict[str, LongText] | None, Field(max_length=32)] = None
    """Annotations added to the pods."""
    shared_memory: Quantity | None = None
    """Size limit of /dev/shm."""
    termination_grace_period_seconds: Annotated[int, Field(ge=10, le=3600)] = 120
    """Time to save a checkpoint between SIGTERM and SIGKILL."""
    runtime_class_name: Name | None = None
    """RuntimeClass of the pods."""


class Addressing(StrEnum):
    """How a bucket is named in requests."""

    AUTO = "Auto"
    PATH = "Path"
    VIRTUAL = "Virtual"


class Storage(ApiModel):
    """The S3-compatible store that holds model, data and results."""

    endpoint: Annotated[
        str | None, Field(min_length=8, max_length=512, pattern=r"^https?://[^\s/?#@]+/?$")
    ] = None
    """URL of the store; AWS when absent."""
    region: Annotated[str | None, Field(min_length=1, max_length=64)] = None
    """Region to sign requests for."""
    credentials_secret_name: Name | None = None
    """Secret with AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, and HF_TOKEN where an hf:// model
    needs one; workload identity when absent."""
    addressing: Addressing = Addressing.AUTO
    """Path: endpoint/bucket/key. Virtual: bucket.endpoint/key."""


class OnExisting(StrEnum):
    """What to do when another recipe is published under the same namespace and name."""

    REFUSE = "Refuse"
    REPLACE = "Replace"


class Output(ApiModel):
    """Where results go."""

    CLUSTER_RULES: ClassVar[tuple[Rule, ...]] = (_URI_IS_S3,)

    uri: Uri
    """Prefix; results lie under URI/NAMESPACE/NAME/."""
    on_existing: OnExisting = OnExisting.REFUSE
    """Refuse ends with OutputTaken; Replace moves the pointer and keeps the old run."""


class Checkpoints(ApiModel):
    """When work is saved."""

    every_minutes: Annotated[int, Field(ge=1, le=1440)] = 10
    """Minutes between checkpoints."""
    every_steps: Annotated[int | None, Field(ge=1, le=1_000_000)] = None
    """Steps between checkpoints, beside everyMinutes."""
    keep: Annotated[int, Field(ge=1, le=100)] = 2
    """Checkpoints of this run to keep."""


class Restarts(ApiModel):
    """How often and how long to try."""

    max: Annotated[int, Field(ge=0, le=100)] = 3
    """Counted failures that are retried."""
    start_deadline_seconds: Annotated[int, Field(ge=5, le=86_400)] = 900
    """Seconds in which all pods must run, or they are deleted and tried again with backoff."""


class FineTuneJobSpec(ApiModel):
    """The wish: a model, data, a method, and where the result goes."""

    method: Annotated[Method, RECIPE]
    """How the model is tuned."""
    model: Annotated[ModelSource, RECIPE]
    """The model that training starts from."""
    data: Annotated[Data, RECIPE]
    """Rows to train on and rows to measure on."""
    adapter: Annotated[Adapter, RECIPE] = Field(default_factory=Adapter)
    """Low-rank adapters, or full weights."""
    training: Annotated[Training, RECIPE] = Field(default_factory=Training)
    """The optimisation."""
    evaluation: Evaluation = Field(default_factory=Evaluation)
    """Measurements before and after training."""
    workers: Workers = Field(default_factory=Workers)
    """The training pods."""
    preparation: Preparation = Field(default_factory=Preparation)
    """The CPU job that prepares data."""
    pod_template: PodTemplate = Field(default_factory=PodTemplate)
    """What the platform needs on the pods."""
    storage: Storage = Field(default_factory=Storage)
    """The S3-compatible store."""
    output: Output
    """Where results go."""
    checkpoints: Checkpoints = Field(default_factory=Checkpoints)
    """When work is saved."""
    restarts: Restarts = Field(default_factory=Restarts)
    """How often and how long to try."""
    suspend: bool = False
    """True saves a checkpoint and frees the pods; false goes on."""
    active_deadline_seconds: Annotated[int | None, Field(ge=1, le=31_536_000)] = None
    """Seconds from the first start after which the job fails."""
    ttl_seconds_after_finished: Annotated[int | None, Field(ge=0, le=31_536_000)] = None
    """Seconds after the end until the job's pods and other children are deleted."""


MUTABLE_FIELDS = frozenset({"suspend", "ttl_seconds_after_finished"})
"""Fields of the spec that may change after creation."""
