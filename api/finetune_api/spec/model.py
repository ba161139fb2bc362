"""The model that training starts from, and the one that scores answers: an address, or a job whose
result it is."""

from typing import Annotated, ClassVar

from pydantic import Field

from finetune_api.fields import RECIPE, ApiModel, Rule, ShortText
from finetune_api.spec.addresses import HUB_SCHEME, URI_IS_REMOTE, ModelUri

MAX_NAME_LENGTH = 40
NAME_PATTERN = r"^[a-z]([-a-z0-9]*[a-z0-9])?$"
JobName = Annotated[str, Field(min_length=1, max_length=MAX_NAME_LENGTH, pattern=NAME_PATTERN)]
"""metadata.name of a FineTuneJob."""


class JobReference(ApiModel):
    """A FineTuneJob in the same namespace."""

    name: JobName
    """Its metadata.name; the job may be applied later."""


class ResultSource(ApiModel):
    """A model by its address, or as the result of another job."""

    RULES: ClassVar[tuple[Rule, ...]] = (
        Rule(
            "has(self.uri) != has(self.fromJob)",
            "name the model once: by uri, or by fromJob.name as what another FineTuneJob publishes",
            lambda source: (source.uri is None) != (source.from_job is None),
        ),
    )
    CLUSTER_RULES: ClassVar[tuple[Rule, ...]] = (URI_IS_REMOTE,)

    uri: Annotated[ModelUri | None, RECIPE] = None
    from_job: JobReference | None = None

    def address(self) -> str:
        """Where the model lies. A job's name has become its result's address in a run file;
        before that this raises LookupError."""
        if self.uri is None:
            raise LookupError("the result of a job has no address before the job is complete")
        return self.uri


class RewardModelSource(ResultSource):
    """The reward model that scores answers while the model is trained."""

    uri: Annotated[ModelUri | None, RECIPE] = None
    """Folder of a job of method Reward, whose manifest.json is followed, of the adapter or model
    that it published, or of a Transformers model for sequence classification with one label. It
    must have the tokenizer of the model that is trained."""
    from_job: JobReference | None = None
    """In place of uri: a FineTuneJob of method Reward. This job waits until that one is complete,
    and takes what it published."""


class ModelSource(ResultSource):
    """The model that training starts from."""

    uri: Annotated[ModelUri | None, RECIPE] = None
    """Folder of a Transformers model (config.json, safetensors weights, a tokenizer), folder of a
    PEFT adapter, or a job's folder, whose manifest.json is followed to what it published. In S3,
    or hf://ORG/NAME@REVISION on the Hugging Face Hub; only a commit there stays what it is."""
    from_job: JobReference | None = None
    """In place of uri: a FineTuneJob. This job waits until that one is complete, and starts from
    what it published, with its tokenizer and chat template."""
    id: ShortText | None = None
    """Public name of the base, written into adapter_config.json; when absent the name that the
    start adapter carries, ORG/NAME of a base on the hub, or the base's address."""
    license: ShortText | None = None
    """SPDX name of the model's licence, for the model card."""

    def on_hub(self) -> bool:
        """Whether the model lies on the Hugging Face Hub."""
        return self.uri is not None and self.uri.startswith(HUB_SCHEME)
