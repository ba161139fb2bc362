"""checkpoint.json: what a checkpoint holds, written after all of it."""

import hashlib
from pathlib import Path
from typing import Annotated

from finetune_api.fields import ApiModel
from finetune_api.manifest import ManifestFile
from finetune_api.status import Digest
from pydantic import Field

CHECKPOINT_VERSION = 3
STATE_FILE = "state.safetensors"
METRICS_FILE = "metrics.jsonl"


class Evaluated(ApiModel):
    """The held-out rows after some step."""

    step: Annotated[int, Field(ge=0)]
    value: float | None
    """Of the metric that decides; None when it was not finite."""


class CheckpointHeader(ApiModel):
    """A training run after `step` steps.

    Of randomness nothing is kept: it is a function of the seed, the step and the rank.
    """

    version: int = CHECKPOINT_VERSION
    step: Annotated[int, Field(ge=0)]
    """Optimizer steps done, skipped ones included."""
    applied_steps: Annotated[int, Field(ge=0)]
    """Updates that moved the parameters: AdamW's step count."""
    skipped_updates: Annotated[int, Field(ge=0)] = 0
    """Updates that were passed over, since something was not finite."""
    total_steps: Annotated[int, Field(ge=1)]
    """Steps of the whole run."""
    epoch: float
    """Passes over the rows."""
    world_size: Annotated[int, Field(ge=1)]
    """Processes that trained; resuming with as many gives equal bits."""
    recipe_hash: Digest
    data_hash: Digest
    evaluations: list[Evaluated] = Field(default_factory=list)
    """Of the run so far."""
    state: dict[str, float] = Field(default_factory=dict)
    """What the method keeps from step to step beside the parameters."""
    files: list[ManifestFile]
    """Paths relative to the checkpoint's folder."""


def file_record(folder: Path, path: str) -> ManifestFile:
    """Size and SHA-256 of `folder`/`path`."""
    with (folder / path).open("rb") as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()
    return ManifestFile(path=path, size=(folder / path).stat().st_size, sha256=digest)
