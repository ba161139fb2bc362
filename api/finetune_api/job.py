"""The FineTuneJob object: group, names, metadata, spec and status together."""

import re
from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field

from finetune_api.fields import ApiModel
from finetune_api.spec import FineTuneJobSpec
from finetune_api.spec.model import MAX_NAME_LENGTH, NAME_PATTERN

GROUP = "finetune.dev"
VERSION = "v1alpha1"
API_VERSION = f"{GROUP}/{VERSION}"
KIND = "FineTuneJob"
PLURAL = "finetunejobs"
SINGULAR = "finetunejob"
SHORT_NAME = "ftj"

NAME_SENTENCE = (
    f"metadata.name must be at most {MAX_NAME_LENGTH} characters: a lower-case letter, then "
    "lower-case letters, digits or '-', ending in a letter or digit"
)

LABEL_JOB = f"{GROUP}/job"
LABEL_JOB_UID = f"{GROUP}/job-uid"
LABEL_ROLE = f"{GROUP}/role"
LABEL_ATTEMPT = f"{GROUP}/attempt"
LABEL_INCARNATION = f"{GROUP}/incarnation"


def name_is_valid(name: str) -> bool:
    """Whether pods, services and labels can be named after `name`."""
    return len(name) <= MAX_NAME_LENGTH and re.fullmatch(NAME_PATTERN, name) is not None


class ObjectMeta(BaseModel):
    """The part of Kubernetes' metadata that we read; the rest is ignored."""

    model_config = ConfigDict(extra="ignore", frozen=True)

    name: Annotated[str, Field(min_length=1, max_length=253)]
    namespace: str = "default"
    uid: str = ""
    labels: dict[str, str] = Field(default_factory=dict)
    annotations: dict[str, str] = Field(default_factory=dict)


class FineTuneJob(ApiModel):
    """A job as a user writes it."""

    model_config = ConfigDict(extra="ignore")

    api_version: Annotated[str, Field(pattern=rf"^{re.escape(API_VERSION)}$")] = API_VERSION
    kind: Annotated[str, Field(pattern=rf"^{KIND}$")] = KIND
    metadata: ObjectMeta
    spec: FineTuneJobSpec


def job_identity(document: dict[str, Any]) -> tuple[str, str]:
    """(namespace, name) of a job document."""
    metadata = document.get("metadata", {})
    return metadata.get("namespace", "default"), metadata.get("name", "")
