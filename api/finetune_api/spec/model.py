"""The model that training starts from."""

from typing import Annotated, ClassVar

from finetune_api.fields import RECIPE, ApiModel, Rule, ShortText
from finetune_api.spec.addresses import HUB_SCHEME, URI_IS_REMOTE, ModelUri


class RewardModelSource(ApiModel):
    """The reward model that scores answers while the model is trained."""

    CLUSTER_RULES: ClassVar[tuple[Rule, ...]] = (URI_IS_REMOTE,)

    uri: Annotated[ModelUri, RECIPE]
    """Folder of a job of method Reward, whose manifest.json is followed, of the adapter or model
    that it published, or of a Transformers model for sequence classification with one label. It
    must have the tokenizer of the model that is trained."""


class ModelSource(ApiModel):
    """The model that training starts from."""

    CLUSTER_RULES: ClassVar[tuple[Rule, ...]] = (URI_IS_REMOTE,)

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
