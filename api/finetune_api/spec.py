"""What a user writes: the spec of a FineTuneJob (group finetune.dev, version v1alpha1).

The CRD, the run file, the command line's checks and the API reference all derive from here.
A field marked `RECIPE` changes the result and is part of the recipe hash. Fields that may be
left out are `None` until `finetune_api.resolve` fills them in.
"""

from collections.abc import Sequence
from enum import StrEnum
from functools import reduce
from operator import add
from typing import Annotated, ClassVar

from pydantic import Field

from finetune_api.fields import (
    RECIPE,
    ApiModel,
    DecimalBelowHalf,
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
    wire_name,
)
from finetune_api.trl_rules import trl_rules

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


def hub_name(uri: str) -> str | None:
    """ORG/NAME of an address on the Hugging Face Hub; None of any other."""
    if not uri.startswith(HUB_SCHEME):
        return None
    return uri.removeprefix(HUB_SCHEME).partition("@")[0]


_LOCAL_ONLY = "file:// works only in local runs (`finetune run`); on a cluster write "


def _uri_is_s3(model: "RowSource | Output") -> bool:
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

    CPT = "CPT"
    SFT = "SFT"
    DPO = "DPO"


class ModelSource(ApiModel):
    """The model that training starts from."""

    CLUSTER_RULES: ClassVar[tuple[Rule, ...]] = (_URI_IS_REMOTE,)

    uri: Annotated[ModelUri, RECIPE]
    """Folder of a Transformers model (config.json, safetensors weights, a tokenizer), folder of a
    PEFT adapter, or a job's folder, whose manifest.json is followed to what it published. In S3,
    or hf://ORG/NAME@REVISION on the Hugging Face Hub; only a commit there stays what it is."""
    id: ShortText | None = None
    """Public name of the base, written into adapter_config.json; when absent the name that the
    start adapter carries, ORG/NAME of a base on the hub, or the base's address."""
    license: ShortText | None = None
    """SPDX name of the model's licence, for the model card."""

    def on_hub(self) -> bool:
        """Whether the model lies on the Hugging Face Hub."""
        return self.uri.startswith(HUB_SCHEME)


class RowFormat(StrEnum):
    """Shape of a source's rows."""

    AUTO = "Auto"
    TEXT = "Text"
    PROMPT_COMPLETION = "PromptCompletion"
    INSTRUCTION = "Instruction"
    MESSAGES = "Messages"
    PREFERENCE = "Preference"


FORMATS_OF: dict[Method, tuple[RowFormat, ...]] = {
    Method.CPT: (RowFormat.TEXT,),
    Method.SFT: (RowFormat.MESSAGES, RowFormat.INSTRUCTION, RowFormat.PROMPT_COMPLETION),
    Method.DPO: (RowFormat.PREFERENCE,),
}
"""Shapes of rows that each method trains on."""


class RowSource(ApiModel):
    """Rows in one JSON or JSONL object."""

    CLUSTER_RULES: ClassVar[tuple[Rule, ...]] = (_URI_IS_S3,)

    uri: Annotated[Uri, RECIPE]
    """Object of JSON lines, or one JSON array of rows."""
    format: Annotated[RowFormat, RECIPE] = RowFormat.AUTO
    """Text (CPT): a column text. Instruction (SFT): instruction, context, response (dolly,
    alpaca). PromptCompletion (SFT): the texts prompt and completion, a user's turn and its answer.
    Messages (SFT): a list of turns (role and content, or ShareGPT's from and value). Preference
    (DPO): chosen and rejected after a prompt, or two conversations that begin alike. Auto looks at
    the rows."""
    fields: Annotated[dict[str, ShortText] | None, RECIPE, Field(max_length=16)] = None
    """Column map: our name (text, instruction, context, response, messages, prompt, completion,
    chosen, rejected, system, tools) to the column."""
    template: Annotated[LongText | None, RECIPE] = None
    """Jinja template: of the user's turn of Instruction rows, over instruction and context; of the
    document of Text rows, over text and the row's other columns."""
    license: ShortText | None = None
    """SPDX name of the rows' licence, for the model card."""


class DataSource(RowSource):
    """Rows to train on or to measure on."""

    weight: Annotated[DecimalPositive | None, RECIPE] = None
    """With mixing Interleave, this source's part of what is drawn, relative to the other weights;
    "1" when absent."""


class DataChecks(ApiModel):
    """How many bad rows a job may drop before it is refused."""

    max_invalid_rows: Annotated[int, RECIPE, Field(ge=0, le=1_000_000_000)] = 0
    """Rows that may be unparsable, empty or lack a field; more than these fail the job."""
    max_too_long_share: Annotated[DecimalShare, RECIPE] = "0.05"
    """Share of rows that may be longer than training.sequenceLength; they are dropped."""


class Mixing(StrEnum):
    """How several train sources are drawn from."""

    CONCAT = "Concat"
    INTERLEAVE = "Interleave"


class MixingStop(StrEnum):
    """When an interleaved epoch ends."""

    FIRST_EXHAUSTED = "FirstExhausted"
    ALL_EXHAUSTED = "AllExhausted"


def _weighted(sources: Sequence[DataSource] | None) -> bool:
    return any(source.weight is not None for source in sources or ())


class Data(ApiModel):
    """Rows to train on and rows to measure on."""

    train: Annotated[list[DataSource], RECIPE, Field(min_length=1, max_length=32)]
    """Sources of training rows."""
    evaluation: Annotated[list[DataSource] | None, RECIPE, Field(min_length=1, max_length=32)] = (
        None
    )
    """Held-out rows; when absent a share of the training rows is held out."""
    evaluation_fraction: Annotated[DecimalOpenShare | None, RECIPE] = None
    """Share of training rows (documents for CPT) held out when evaluation is absent."""
    mixing: Annotated[Mixing, RECIPE] = Mixing.CONCAT
    """Concat reads each train source once an epoch. Interleave draws rows, pairs or blocks by the
    sources' weights; a source that an epoch reads in part or more than once goes on where the
    epoch before stopped, so that all of it comes equally often."""
    mixing_stop: Annotated[MixingStop | None, RECIPE] = None
    """FirstExhausted (when absent) ends an interleaved epoch when a source was read whole,
    AllExhausted when all were."""
    checks: DataChecks = Field(default_factory=DataChecks)
    """Limits on bad rows."""

    RULES: ClassVar[tuple[Rule, ...]] = (
        Rule(
            "!(has(self.evaluation) && has(self.evaluationFraction))",
            "give evaluation rows or evaluationFraction, not both",
            lambda data: data.evaluation is None or data.evaluation_fraction is None,
        ),
        Rule(
            "self.mixing == 'Interleave' || self.train.all(source, !has(source.weight))",
            "mixing Concat reads every source once: remove weight, or set mixing to Interleave",
            lambda data: data.mixing is Mixing.INTERLEAVE or not _weighted(data.train),
        ),
        Rule(
            "!has(self.evaluation) || self.evaluation.all(source, !has(source.weight))",
            "evaluation rows are all read: remove their weight",
            lambda data: not _weighted(data.evaluation),
        ),
        Rule(
            "self.mixing == 'Interleave' || !has(self.mixingStop)",
            "mixingStop says when an interleaved epoch ends: remove it, or set mixing to "
            "Interleave",
            lambda data: data.mixing is Mixing.INTERLEAVE or data.mixing_stop is None,
        ),
    )


class ReplaySource(RowSource):
    """General text that is mixed in, against forgetting."""

    RULES: ClassVar[tuple[Rule, ...]] = (
        Rule(
            "self.format in ['Auto', 'Text']",
            "replay rows are documents: set format to Text or leave it out",
            lambda source: source.format in (RowFormat.AUTO, RowFormat.TEXT),
        ),
    )

    share: Annotated[DecimalOpenShare, RECIPE]
    """Share of an epoch's blocks that come from here, "0.1" for a tenth."""


MAX_REPLAY_SHARE = 0.95
"""Of all replay sources together; what is left belongs to the train sources."""


class Cpt(ApiModel):
    """Settings of continued pre-training."""

    RULES: ClassVar[tuple[Rule, ...]] = (
        Rule(
            f"self.replay.map(source, double(source.share)).sum() <= {MAX_REPLAY_SHARE}",
            f"the shares of replay may be {MAX_REPLAY_SHARE} together; the rest is data.train",
            lambda cpt: (
                reduce(add, (float(source.share) for source in cpt.replay)) <= MAX_REPLAY_SHARE
            ),
        ),
    )

    replay: Annotated[list[ReplaySource], RECIPE, Field(min_length=1, max_length=8)]
    """General text drawn beside the train sources; an epoch is once through the train sources."""


class AdapterType(StrEnum):
    """What is trained."""

    LORA = "LoRA"
    RSLORA = "RsLoRA"
    DORA = "DoRA"
    NONE = "None"


class AdapterFrom(StrEnum):
    """What training does with the adapter that it starts from."""

    CONTINUE = "Continue"
    MERGE = "Merge"
    NEW = "New"


class Adapter(ApiModel):
    """Low-rank adapters against catastrophic forgetting, or full weights."""

    RULES: ClassVar[tuple[Rule, ...]] = (
        Rule(
            "!has(self.type) || self.type != 'None' || !(has(self.rank) || has(self.alpha)"
            " || has(self.dropout) || has(self.targetModules) || has(self.rankPattern)"
            " || has(self.alphaPattern))",
            "type None trains all weights: remove rank, alpha, dropout, targetModules, "
            "rankPattern and alphaPattern",
            lambda adapter: (
                adapter.type is not AdapterType.NONE
                or (adapter.dropout is None and not adapter.shape_fields())
            ),
        ),
        Rule(
            "!has(self.type) || self.type != 'None' || !has(self.from) || self.from == 'Merge'",
            "type None trains all weights: remove from, or write Merge to merge the start adapter",
            lambda adapter: (
                adapter.type is not AdapterType.NONE or adapter.from_ in (None, AdapterFrom.MERGE)
            ),
        ),
    )

    type: Annotated[AdapterType | None, RECIPE] = None
    """LoRA (when absent), RsLoRA (scaled by alpha / sqrt(rank)), DoRA (magnitudes train too), or
    None for full weights. With from Continue the start adapter's type when absent."""
    from_: Annotated[AdapterFrom | None, RECIPE] = None
    """Continue trains the start adapter further, with its type, rank, alpha and layers (when
    absent and the start model is an adapter). Merge merges it into its base, publishes that as
    base/ and starts anew. New is for a full model (when absent there)."""
    rank: Annotated[int | None, RECIPE, Field(ge=1, le=1024)] = None
    """Rank of the update; 16 when absent."""
    alpha: Annotated[int | None, RECIPE, Field(ge=1, le=4096)] = None
    """Scale of the update: it is multiplied by alpha / rank; 32 when absent."""
    dropout: Annotated[DecimalBelowOne | None, RECIPE] = None
    """Dropout before the low-rank update; 0.05 for SFT when absent."""
    target_modules: Annotated[
        list[ShortText] | None, RECIPE, Field(min_length=1, max_length=64)
    ] = None
    """Linear layers that carry an update: names (q_proj), shell globs over full names
    (model.layers.[0-3].*.q_proj), or all-linear (when absent): all but the output head."""
    rank_pattern: Annotated[
        dict[str, Annotated[int, Field(ge=1, le=1024)]] | None, RECIPE, Field(max_length=64)
    ] = None
    """Ranks of single layers, by name or glob as in targetModules, in place of rank."""
    alpha_pattern: Annotated[
        dict[str, Annotated[int, Field(ge=1, le=4096)]] | None, RECIPE, Field(max_length=64)
    ] = None
    """Alphas of single layers, by name or glob as in targetModules, in place of alpha."""

    def shape_fields(self) -> list[str]:
        """Wire names of the fields given that say which layers carry what update."""
        fields = ("rank", "alpha", "target_modules", "rank_pattern", "alpha_pattern")
        return [wire_name(name) for name in fields if getattr(self, name) is not None]


class Scheduler(StrEnum):
    """Course of the learning rate after warm-up."""

    COSINE = "Cosine"
    LINEAR = "Linear"
    CONSTANT = "Constant"


class Precision(StrEnum):
    """Type of the computation; parameters that train stay fp32."""

    BF16 = "BF16"
    FP32 = "FP32"


class TrainingEngine(StrEnum):
    """What does the optimizer steps."""

    NATIVE = "Native"
    TRL = "TRL"


class LossOn(StrEnum):
    """Which tokens of a row are learnt."""

    COMPLETION = "Completion"
    LAST_TURN = "LastTurn"
    ALL = "All"


class EarlyStopping(ApiModel):
    """Ends training when the held-out rows no longer gain."""

    patience: Annotated[int, RECIPE, Field(ge=1, le=1000)]
    """Evaluations in a row that may fail to improve on the best one."""


class Training(ApiModel):
    """The optimisation."""

    RULES: ClassVar[tuple[Rule, ...]] = (
        Rule(
            "!has(self.earlyStopping) || has(self.evalEverySteps)",
            "earlyStopping looks at evaluations: set evalEverySteps",
            lambda training: (
                training.early_stopping is None or training.eval_every_steps is not None
            ),
        ),
        Rule(
            "!(has(self.epochs) && has(self.maxSteps))",
            "give epochs or maxSteps, not both",
            lambda training: training.epochs is None or training.max_steps is None,
        ),
        Rule(
            "!has(self.scheduler) || self.scheduler != 'Constant'"
            " || !has(self.minLearningRateRatio) || double(self.minLearningRateRatio) == 0.0",
            "with scheduler Constant the learning rate does not fall: remove minLearningRateRatio",
            lambda training: (
                training.scheduler is not Scheduler.CONSTANT
                or float(training.min_learning_rate_ratio) == 0
            ),
        ),
    )

    epochs: Annotated[DecimalPositive | None, RECIPE] = None
    """Passes over the training data; "1" when maxSteps is absent too."""
    max_steps: Annotated[int | None, RECIPE, Field(ge=1, le=100_000_000)] = None
    """Optimizer steps, in place of epochs."""
    global_batch_size: Annotated[int, RECIPE, Field(ge=1, le=1_000_000)] = 64
    """Rows (SFT), pairs (DPO) or blocks (CPT) in one optimizer step, over all processes; the last
    step of an epoch may have fewer."""
    micro_batch_tokens: Annotated[int | None, Field(ge=16, le=16_777_216)] = None
    """Largest number of tokens in one forward pass of one process; chosen when absent."""
    sequence_length: Annotated[int, RECIPE, Field(ge=16, le=1_048_576)] = 4096
    """Longest row, or longer side of a pair, in tokens; longer ones are dropped and counted. For
    CPT the tokens of a block: documents are laid one after another and cut."""
    loss_on: Annotated[LossOn | None, RECIPE] = None
    """SFT: Completion (when absent) learns every turn of the assistant, LastTurn the last of them,
    All every token of the row but the first, whatever the turns' weights."""
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
    eval_every_steps: Annotated[int | None, RECIPE, Field(ge=1, le=1_000_000)] = None
    """Optimizer steps between evaluations on the held-out rows, which are also done at the end;
    none when absent."""
    early_stopping: EarlyStopping | None = None
    """Ends training before its last step."""
    seed: Annotated[int, RECIPE, Field(ge=0, le=2_147_483_647)] = 42
    """Seed of everything random."""
    max_skipped_steps: Annotated[int, Field(ge=0, le=1_000_000)] = 10
    """Steps with a loss or gradient that is not finite before the run gives up."""
    engine: Annotated[TrainingEngine, RECIPE] = TrainingEngine.NATIVE
    """Native, or TRL to compare with: TRL's trainer of the method (SFT, DPO) does the steps on the
    same tokens in the same order, in one process, without packing and without checkpoints."""


class DpoLoss(StrEnum):
    """Loss of a pair."""

    SIGMOID = "Sigmoid"
    IPO = "IPO"
    HINGE = "Hinge"


class Dpo(ApiModel):
    """Direct preference optimisation."""

    RULES: ClassVar[tuple[Rule, ...]] = (
        Rule(
            "!has(self.loss) || self.loss == 'Sigmoid' || !has(self.labelSmoothing)"
            " || double(self.labelSmoothing) == 0.0",
            "labelSmoothing belongs to the Sigmoid loss; remove it",
            lambda dpo: dpo.loss is DpoLoss.SIGMOID or float(dpo.label_smoothing) == 0,
        ),
    )

    beta: Annotated[DecimalPositive, RECIPE] = "0.1"
    """How strongly the model is held to the reference, the model that training starts from."""
    loss: Annotated[DpoLoss, RECIPE] = DpoLoss.SIGMOID
    """Sigmoid (DPO), IPO (over sums of log-probabilities, as in its paper) or Hinge (SLiC)."""
    label_smoothing: Annotated[DecimalBelowHalf, RECIPE] = "0"
    """Probability that a pair's labels are the wrong way round (Sigmoid)."""
    sft_weight: Annotated[DecimalNonNegative, RECIPE] = "0"
    """Weight of the chosen completions' cross entropy, added to the loss."""


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


class Retain(StrEnum):
    """What stays of a run beside its result."""

    ADAPTER = "Adapter"
    CHECKPOINTS = "Checkpoints"


class Output(ApiModel):
    """Where results go."""

    CLUSTER_RULES: ClassVar[tuple[Rule, ...]] = (_URI_IS_S3,)

    uri: Uri
    """Prefix; results lie under URI/NAMESPACE/NAME/."""
    merged: bool = False
    """Publish model/, the base with the adapter merged into it, beside adapter/."""
    retain: Retain = Retain.ADAPTER
    """Adapter removes the job's checkpoints once its result is published; Checkpoints keeps
    them."""
    on_existing: OnExisting = OnExisting.REFUSE
    """Refuse ends with OutputTaken; Replace moves the pointer and keeps the old run."""


class BestMetric(StrEnum):
    """What tells the best evaluation."""

    LOSS = "Loss"
    PREFERENCE_ACCURACY = "PreferenceAccuracy"


class Best(ApiModel):
    """Which evaluated step is published."""

    metric: Annotated[BestMetric, RECIPE] = BestMetric.LOSS
    """Loss: the least loss on held-out rows. PreferenceAccuracy: the largest share of held-out
    pairs whose chosen completion has the higher reward (DPO)."""


class Checkpoints(ApiModel):
    """When work is saved."""

    every_minutes: Annotated[int, Field(ge=1, le=1440)] = 10
    """Minutes between checkpoints."""
    every_steps: Annotated[int | None, Field(ge=1, le=1_000_000)] = None
    """Steps between checkpoints, beside everyMinutes."""
    keep: Annotated[int, Field(ge=1, le=100)] = 2
    """Checkpoints of this run to keep."""
    best: Best | None = None
    """Publish the best evaluated step instead of the last; needs training.evalEverySteps. Set when
    training.earlyStopping is."""


class Restarts(ApiModel):
    """How often and how long to try."""

    max: Annotated[int, Field(ge=0, le=100)] = 3
    """Counted failures that are retried."""
    start_deadline_seconds: Annotated[int, Field(ge=5, le=86_400)] = 900
    """Seconds in which all pods must run, or they are deleted and tried again with backoff."""


def _formats_rule(method: Method) -> Rule:
    """Rows of a format that `method` does not train on are refused at once."""
    allowed = (RowFormat.AUTO, *FORMATS_OF[method])
    names = [form.value for form in allowed]
    fits = f"(source, source.format in {names})"

    def holds(spec: "FineTuneJobSpec") -> bool:
        sources = [*spec.data.train, *(spec.data.evaluation or [])]
        return spec.method is not method or all(source.format in allowed for source in sources)

    return Rule(
        f"self.method != '{method}' || (self.data.train.all{fits}"
        f" && (!has(self.data.evaluation) || self.data.evaluation.all{fits}))",
        f"method {method} trains on rows of the format {' or '.join(names[1:])}; set format to "
        "one of these or leave it out",
        holds,
    )


class FineTuneJobSpec(ApiModel):
    """The wish: a model, data, a method, and where the result goes."""

    RULES: ClassVar[tuple[Rule, ...]] = (
        *(_formats_rule(method) for method in Method),
        Rule(
            "self.method == 'CPT' || !has(self.cpt)",
            "the block cpt belongs to method CPT: remove it, or change the method",
            lambda spec: spec.method is Method.CPT or spec.cpt is None,
        ),
        Rule(
            "self.method == 'SFT' || !has(self.training.lossOn)",
            "training.lossOn belongs to method SFT: remove it",
            lambda spec: spec.method is Method.SFT or spec.training.loss_on is None,
        ),
        Rule(
            "!has(self.dpo) || self.method == 'DPO'",
            "dpo belongs to method DPO; remove it",
            lambda spec: spec.dpo is None or spec.method is Method.DPO,
        ),
        Rule(
            "!has(self.checkpoints.best) || has(self.training.evalEverySteps)",
            "checkpoints.best chooses among evaluations: set training.evalEverySteps",
            lambda spec: (
                spec.checkpoints.best is None or spec.training.eval_every_steps is not None
            ),
        ),
        Rule(
            "!has(self.checkpoints.best) || self.checkpoints.best.metric != 'PreferenceAccuracy'"
            " || self.method == 'DPO'",
            "checkpoints.best.metric PreferenceAccuracy belongs to method DPO; write Loss",
            lambda spec: (
                spec.checkpoints.best is None
                or spec.checkpoints.best.metric is not BestMetric.PREFERENCE_ACCURACY
                or spec.method is Method.DPO
            ),
        ),
        Rule(
            "!self.output.merged || !has(self.adapter.type) || self.adapter.type != 'None'",
            "with adapter.type None the result is a whole model already: remove output.merged",
            lambda spec: not spec.output.merged or spec.adapter.type is not AdapterType.NONE,
        ),
        *trl_rules(Checkpoints()),
    )

    method: Annotated[Method, RECIPE]
    """CPT: continued pre-training on documents. SFT: answers to prompts. DPO: the better of two
    answers."""
    model: Annotated[ModelSource, RECIPE]
    """The model that training starts from."""
    data: Annotated[Data, RECIPE]
    """Rows to train on and rows to measure on."""
    adapter: Annotated[Adapter, RECIPE] = Field(default_factory=Adapter)
    """Low-rank adapters, or full weights."""
    training: Annotated[Training, RECIPE] = Field(default_factory=Training)
    """The optimisation."""
    cpt: Annotated[Cpt | None, RECIPE] = None
    """Settings of method CPT."""
    dpo: Dpo | None = None
    """Settings of method DPO."""
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
