"""What a pod tells while it works: a small JSON that the operator and `finetune` read."""

from enum import StrEnum
from typing import Annotated

from pydantic import Field

from finetune_api.fields import ApiModel

PROGRESS_PORT = 9463
"""Port of a pod that serves /progress (JSON) and /metrics (Prometheus text)."""
PROGRESS_PATH = "/progress"
PROGRESS_PORT_VARIABLE = "FINETUNE_PROGRESS_PORT"
"""Environment variable that replaces the port; 0 serves nothing, as local runs want."""
PROGRESS_FILE = "progress.json"
"""File in the work folder that the preparation, or rank 0, replaces atomically with its latest
`Progress`."""
MAX_PROGRESS_BYTES = 4096


class Stage(StrEnum):
    """What a job does, in order; those of training pods commit a marker in the run's folder."""

    PREPARING = "Preparing"
    FETCHING = "Fetching"
    MERGING = "Merging"
    BASELINE = "Baseline"
    REFERENCE = "Reference"
    TRAINING = "Training"
    EVALUATING = "Evaluating"
    PUBLISHING = "Publishing"


Number = Annotated[str, Field(max_length=24)]
"""A number as a decimal string, since the API has no floats."""


class Progress(ApiModel):
    """How far a run is."""

    stage: Stage
    """What the run does now."""
    step: Annotated[int, Field(ge=0, le=100_000_000)] = 0
    """Optimizer steps done."""
    total_steps: Annotated[int, Field(ge=0, le=100_000_000)] = 0
    """Optimizer steps of the whole run; 0 until known."""
    percent: Annotated[int, Field(ge=0, le=100)] = 0
    """Share of the optimizer steps that are done."""
    stage_percent: Annotated[int | None, Field(ge=0, le=100)] = None
    """Share done of a stage without steps: of the data in Preparing, of the bytes in Fetching, of
    the rows in Reference."""
    resumed_from_step: Annotated[int | None, Field(ge=0, le=100_000_000)] = None
    """Step of the checkpoint that this set of pods went on from, 0 without one; absent until it
    trains."""
    loss: Number | None = None
    """What the last step minimised, its mean: of SFT in nats per label token."""
    reward: Number | None = None
    """Mean reward of the answers that the model wrote in the last step (PPO, GRPO)."""
    learning_rate: Number | None = None
    """Learning rate of the last step."""
    tokens_per_second: Annotated[int | None, Field(ge=0, le=2_000_000_000)] = None
    """Tokens read by all processes each second."""
    eta_seconds: Annotated[int | None, Field(ge=0, le=2_000_000_000)] = None
    """Seconds until training ends."""
