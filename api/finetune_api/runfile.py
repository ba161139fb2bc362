"""The run file: all that a pod needs to know, frozen when an attempt starts.

It lies in a ConfigMap at `RUN_FILE_PATH` on a cluster, or in a folder in a local run.
"""

import json
from pathlib import Path
from typing import Annotated

from pydantic import Field

from finetune_api.fields import ApiModel
from finetune_api.spec import FineTuneJobSpec
from finetune_api.status import ParentStatus, PreparedStatus

RUN_FILE_VERSION = 1
RUN_FILE_KEY = "run.json"
RUN_FILE_PATH = f"/etc/finetune/{RUN_FILE_KEY}"
WORK_DIR_VARIABLE = "FINETUNE_WORK_DIR"
"""Environment variable that names the scratch folder of the process."""
WORK_DIR_PATH = "/work"
TERMINATION_LOG_VARIABLE = "FINETUNE_TERMINATION_LOG"
"""Environment variable that names the file for the termination message."""
TERMINATION_LOG_PATH = "/dev/termination-log"


class JobIdentity(ApiModel):
    """Whose run this is."""

    namespace: Annotated[str, Field(min_length=1, max_length=63)]
    name: Annotated[str, Field(min_length=1, max_length=63)]
    uid: Annotated[str, Field(min_length=8, max_length=64)]

    def uid8(self) -> str:
        """The first eight characters of the UID, as names and addresses carry it."""
        return self.uid[:8]


class Overrides(ApiModel):
    """What an attempt changes outside the recipe."""

    micro_batch_tokens: Annotated[int, Field(ge=16, le=16_777_216)] | None = None
    """Micro-batch after the last attempt ran out of memory."""


class RunFile(ApiModel):
    """One attempt of one job; `spec` is resolved."""

    version: int = RUN_FILE_VERSION
    job: JobIdentity
    spec: FineTuneJobSpec
    attempt: Annotated[int, Field(ge=0, le=1_000_000)] = 0
    """0 in the run file of the preparation."""
    overrides: Overrides = Field(default_factory=Overrides)
    parents: Annotated[list[ParentStatus], Field(max_length=2)] = Field(default_factory=list)
    """Jobs whose results stand in `spec` by their addresses."""
    prepared: PreparedStatus | None = None
    """Where the prepared data lies; absent for `prepare` itself."""
    allow_loopback: bool = False
    """Local runs may talk to an endpoint on this machine."""

    def dump(self) -> str:
        """The file's text: JSON with sorted keys, equal for equal content."""
        return json.dumps(self.to_wire(), indent=1, sort_keys=True) + "\n"

    @classmethod
    def load(cls, path: Path) -> "RunFile":
        """Read a run file. Raises OSError or pydantic.ValidationError."""
        return cls.parse_wire(json.loads(path.read_text(encoding="utf-8")))
