"""Loads the base model and makes it trainable: an adapter, or all weights."""

from collections.abc import Iterator
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from finetune_api.errors import UserError
from finetune_api.reasons import Reason
from finetune_api.spec import Adapter, AdapterType, Precision, Training
from transformers import AutoModelForCausalLM

from finetune_trainer.engine import attention
from finetune_trainer.engine.adapters import new_adapter, trained_adapter


@dataclass(frozen=True)
class ModelSettings:
    """What is trained, and in which types."""

    adapter: Adapter
    precision: Precision
    gradient_checkpointing: bool
    seed: int

    @classmethod
    def of(cls, adapter: Adapter, training: Training) -> "ModelSettings":
        """The settings of a resolved spec."""
        return cls(adapter, training.precision, training.gradient_checkpointing, training.seed)


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
    base = load_base(folder, torch.float32 if full else compute_dtype(settings.precision))
    base.config.use_cache = False
    if device.type == "cpu" and base.is_backend_compatible():
        base.set_attn_implementation(attention.NAME)
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


def load_base(folder: Path, dtype: torch.dtype | str) -> Any:
    """The Transformers model in `folder`; `auto` keeps the type that it is stored in.

    Raises UserError MODEL_INVALID.
    """
    try:
        return AutoModelForCausalLM.from_pretrained(
            folder,
            dtype=dtype,
            use_safetensors=True,
            local_files_only=True,
            trust_remote_code=False,
            attn_implementation="sdpa",
        )
    except (OSError, ValueError, KeyError) as error:
        raise UserError(Reason.MODEL_INVALID, f"the model cannot be loaded: {error}") from error


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
