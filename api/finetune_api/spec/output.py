"""Where a job reads and writes, and when it saves."""

from enum import StrEnum
from typing import Annotated, ClassVar

from pydantic import Field

from finetune_api.fields import RECIPE, ApiModel, Name, Rule
from finetune_api.spec.addresses import URI_IS_S3, Uri


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

    CLUSTER_RULES: ClassVar[tuple[Rule, ...]] = (URI_IS_S3,)

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
    pairs whose chosen completion has the higher reward (DPO, Reward) or odds
    (ORPO)."""


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
    step_deadline_seconds: Annotated[int, Field(ge=10, le=86_400)] = 1800
    """Seconds in which a run must get on: finish a forward pass, a token of an answer, or a file.
    One that hangs for longer is ended and tried again, which counts."""
