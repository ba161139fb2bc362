"""Loads the base model and makes it trainable: an adapter, or all weights."""

import logging
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass
from enum import Enum
from pathlib import Path
from typing import Any

import torch
from finetune_api.errors import UserError
from finetune_api.reasons import Reason
from finetune_api.spec import Adapter, AdapterType, Method, Precision, Training
from transformers import AutoModelForCausalLM, AutoModelForSequenceClassification

from finetune_trainer.engine import attention
from finetune_trainer.engine.adapters import new_adapter, trained_adapter


class Head(Enum):
    """What a model makes of its last hidden states."""

    TOKENS = "tokens"
    """Logits over the vocabulary."""
    REWARD = "reward"
    """One number for a whole text."""

    @classmethod
    def of(cls, method: Method) -> "Head":
        """The head of models that `method` trains."""
        return cls.REWARD if method is Method.REWARD else cls.TOKENS


@dataclass(frozen=True)
class ModelSettings:
    """What is trained, and in which types."""

    adapter: Adapter
    precision: Precision
    gradient_checkpointing: bool
    seed: int
    head: Head = Head.TOKENS

    @classmethod
    def of(
        cls, adapter: Adapter, training: Training, method: Method = Method.SFT
    ) -> "ModelSettings":
        """The settings of a resolved spec."""
        return cls(
            adapter,
            training.precision,
            training.gradient_checkpointing,
            training.seed,
            Head.of(method),
        )


def load_model(
    folder: Path,
    settings: ModelSettings,
    device: torch.device,
    adapter_folder: Path | None = None,
) -> torch.nn.Module:
    """The model in `folder` with its parameters that train in fp32.

    Adapters keep the frozen base in the type of the computation; full weights are fp32 throughout
    and autocast computes. Raises UserError MODEL_INVALID or INVALID_SPEC.

    Args:
        adapter_folder: adapter to train further, in place of a new one.
    """
    full = settings.adapter.type is AdapterType.NONE
    dtype = torch.float32 if full else compute_dtype(settings.precision)
    base = load_base(folder, dtype, settings.head)
    base.config.use_cache = False
    _attend_row_by_row(base, device)
    model: torch.nn.Module = base
    if adapter_folder is not None:
        model = trained_adapter(base, adapter_folder, float(settings.adapter.dropout or 0))
    elif not full:
        model = new_adapter(base, settings.adapter)
    if settings.gradient_checkpointing:
        base.activation_checkpointing_enable(
            activation_checkpointing_kwargs={"use_reentrant": False, "preserve_rng_state": True}
        )
    for _, parameter in trainable(model):
        parameter.data = parameter.data.float()
    return model.to(device)


def load_scoring_base(folder: Path, precision: Precision, device: torch.device) -> Any:
    """The model in `folder` that scores whole texts, in the type of the computation and without
    what training needs. Raises UserError MODEL_INVALID."""
    base = load_base(folder, compute_dtype(precision), Head.REWARD)
    base.config.use_cache = False
    _attend_row_by_row(base, device)
    return base.to(device)


def _attend_row_by_row(base: Any, device: torch.device) -> None:
    """On CPUs, let rows of a pack attend to themselves one by one."""
    if device.type == "cpu" and base.is_backend_compatible():
        base.set_attn_implementation(attention.NAME)


def load_base(folder: Path, dtype: torch.dtype | str, head: Head = Head.TOKENS) -> Any:
    """The Transformers model in `folder`; `auto` keeps the type that it is stored in.

    A reward head that the folder does not have is drawn from torch's generator. Raises UserError
    MODEL_INVALID.
    """
    kind = AutoModelForCausalLM
    more: dict[str, Any] = {}
    if head is Head.REWARD:
        kind, more = AutoModelForSequenceClassification, {"num_labels": 1}
    try:
        with _heads_may_differ() if head is Head.REWARD else nullcontext():
            return kind.from_pretrained(
                folder,
                **more,
                dtype=dtype,
                use_safetensors=True,
                local_files_only=True,
                trust_remote_code=False,
                attn_implementation="sdpa",
            )
    except (OSError, ValueError, KeyError) as error:
        raise UserError(Reason.MODEL_INVALID, f"the model cannot be loaded: {error}") from error


@contextmanager
def _heads_may_differ() -> Iterator[None]:
    """Transformers reports a head that comes or goes as if something were wrong."""
    report = logging.getLogger("transformers.modeling_utils")
    before = report.level
    report.setLevel(logging.ERROR)
    try:
        yield
    finally:
        report.setLevel(before)


def trainable(model: torch.nn.Module) -> Iterator[tuple[str, torch.nn.Parameter]]:
    """Parameters that train, by full name, in the model's order."""
    return ((name, p) for name, p in model.named_parameters() if p.requires_grad)


def compute_dtype(precision: Precision) -> torch.dtype:
    """The type of the computation."""
    return torch.bfloat16 if precision is Precision.BF16 else torch.float32


def computing(precision: Precision, device: torch.device) -> AbstractContextManager[Any]:
    """Context in which forward passes run."""
    if precision is Precision.BF16:
        return torch.autocast(device.type, dtype=torch.bfloat16)
    return nullcontext()
