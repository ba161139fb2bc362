"""The pods of a job and what the platform needs on them."""

from enum import StrEnum
from typing import Annotated, ClassVar

from pydantic import Field

from finetune_api.fields import ApiModel, LongText, Name, Opaque, Quantity, Rule, quantity_value


class Strategy(StrEnum):
    """How processes share the work."""

    AUTO = "Auto"
    DDP = "DDP"


class Resources(ApiModel):
    """Requests and limits of one pod. Every name goes to the pod as it stands: accelerators of any
    vendor, network devices such as rdma/hca, hugepages-2Mi."""

    requests: Annotated[dict[str, Quantity] | None, Field(max_length=16)] = None
    """What the scheduler sets aside."""
    limits: Annotated[dict[str, Quantity] | None, Field(max_length=16)] = None
    """What the pod may not exceed."""

    def accelerators(self) -> int:
        """Number of accelerators in one pod: of extended resources those whose name says GPU.

        Others, such as rdma/hca, habana.ai/gaudi or google.com/tpu, are devices that the trainer
        does not compute on; they are not counted.
        """
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


class Scratch(ApiModel):
    """Room for the work folder: the model, the prepared rows, checkpoints on their way to S3."""

    size: Quantity
    """Size of the claim; without storageClassName the most that the folder may take of the node's
    disk, beyond which the pod is evicted."""
    storage_class_name: Name | None = None
    """Gives each pod a volume claim of this class, which goes when the pod goes."""


class PodTemplate(ApiModel):
    """What the platform needs on training and preparation pods."""

    node_selector: Annotated[dict[str, LongText] | None, Field(max_length=32)] = None
    """Labels of the nodes to use."""
    tolerations: Annotated[list[Opaque] | None, Field(max_length=32)] = None
    """Kubernetes tolerations."""
    affinity: Opaque | None = None
    """Kubernetes affinity."""
    topology_spread: Annotated[list[Opaque] | None, Field(max_length=8)] = None
    """Kubernetes topologySpreadConstraints; finetune.dev/job-uid is a label to select the pods
    of one job by."""
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
    scratch: Scratch | None = None
    """Size and kind of the work folder's volume; the node's disk, without a limit, when absent."""
    termination_grace_period_seconds: Annotated[int, Field(ge=10, le=3600)] = 120
    """Time to save a checkpoint between SIGTERM and SIGKILL."""
    runtime_class_name: Name | None = None
    """RuntimeClass of the pods."""
