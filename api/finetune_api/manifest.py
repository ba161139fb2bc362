"""manifest.json: the pointer that says what is published under a namespace and name."""

from typing import Annotated

from pydantic import Field

from finetune_api.fields import ApiModel
from finetune_api.status import Digest, EvaluationStatus

MANIFEST_VERSION = 1


class ManifestFile(ApiModel):
    """One published file."""

    path: Annotated[str, Field(max_length=1024)]
    """Relative to the run's folder."""
    size: Annotated[int, Field(ge=0)]
    """Bytes."""
    sha256: Digest
    """Digest of the content."""


class Parent(ApiModel):
    """A published job that a result was made from."""

    uri: str
    """Folder of the job, or of the run that it published."""
    job_uid: str
    """UID of the FineTuneJob that published it."""
    manifest_sha256: Digest
    """Digest of its manifest.json."""
    recipe_hash: Digest
    """Its recipe."""


ORIGIN_FILE = "origin.json"


class Origin(ApiModel):
    """origin.json beside an adapter: the base that it was trained on, wherever that is."""

    base_uri: str
    """Folder of the base."""
    base_digest: Digest
    """Digest of the base's configuration and weights."""
    recipe_hash: Digest
    """Recipe that made the adapter."""


class Manifest(ApiModel):
    """What is published, from what, by what."""

    version: int = MANIFEST_VERSION
    job_uid: str
    """UID of the FineTuneJob that published it."""
    run_uri: str
    """Folder of the run."""
    result_uri: str
    """Folder of the adapter or model, inside the run's folder."""
    base_model: str
    """Base that an adapter belongs to."""
    base_uri: str | None = None
    """Folder of the base that training started from, or of the merged one."""
    merged_uri: str | None = None
    """Folder of the base with the adapter merged into it, when the job asked for it."""
    parents: list[Parent] = Field(default_factory=list)
    """Jobs whose results training started from, the nearest first."""
    reward_parents: list[Parent] = Field(default_factory=list)
    """Jobs behind the reward model that scored the answers (PPO, GRPO), the nearest first."""
    notes: list[str] = Field(default_factory=list)
    """What to know before serving the result."""
    recipe_hash: Digest
    data_hash: Digest
    versions: dict[str, str]
    """Versions of the trainer and of the libraries that computed the result."""
    created_at: str
    """RFC 3339, UTC."""
    steps: int
    """Optimizer steps that were done."""
    planned_steps: int | None = None
    """Those that the job asked for; more where training ended early."""
    published_step: int | None = None
    """The step that is published; before the last where checkpoints.best chose it."""
    evaluation: EvaluationStatus | None = None
    files: list[ManifestFile]
    """All published files of the run."""

    def steps_told(self) -> str:
        """For people: which step is published, and whether training ended early; else empty."""
        parts = []
        if self.planned_steps is not None and self.steps < self.planned_steps:
            parts.append(f"training ended early, after step {self.steps} of {self.planned_steps}")
        if self.published_step not in (None, self.steps):
            parts.append(f"step {self.published_step}, the best on held-out rows, is published")
        return "; ".join(parts)
