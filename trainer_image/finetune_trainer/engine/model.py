"""Loads the base model and makes it trainable: LoRA, or all weights."""

import warnings
from collections.abc import Iterator
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from finetune_api.errors import UserError
from finetune_api.reasons import Reason
from finetune_api.resolve import ALL_LINEAR
from finetune_api.spec import Adapter, AdapterType, Precision, Training
from peft import LoraConfig, get_peft_model
from transformers import AutoModelForCausalLM

_NAMES_SHOWN = 20


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


def load_model(folder: Path, settings: ModelSettings, device: torch.device) -> torch.nn.Module:
    """The model in `folder` with its parameters that train in fp32.

    LoRA keeps the frozen base in the type of the computation; full weights are fp32 throughout
    and autocast computes. Raises UserError MODEL_INVALID or INVALID_SPEC.
    """
    full = settings.adapter.type is AdapterType.NONE
    dtype = torch.float32 if full else compute_dtype(settings.precision)
    try:
        base = AutoModelForCausalLM.from_pretrained(
            folder,
            dtype=dtype,
            use_safetensors=True,
            local_files_only=True,
            trust_remote_code=False,
            attn_implementation="sdpa",
        )
    except (OSError, ValueError, KeyError) as error:
        raise UserError(Reason.MODEL_INVALID, f"the model cannot be loaded: {error}") from error
    base.config.use_cache = False
    model: torch.nn.Module = base if full else add_lora(base, settings.adapter)
    if settings.gradient_checkpointing:
        base.activation_checkpointing_enable(
            activation_checkpointing_kwargs={"use_reentrant": False, "preserve_rng_state": True}
        )
    for _, parameter in trainable(model):
        parameter.data = parameter.data.float()
    return model.to(device)


def add_lora(base: Any, adapter: Adapter) -> torch.nn.Module:
    """`base` with low-rank updates on the layers that `adapter` names.

    Raises UserError INVALID_SPEC when a name matches no linear layer.
    """
    targets = adapter.target_modules or [ALL_LINEAR]
    check_targets(base, targets)
    config = LoraConfig(
        r=adapter.rank or 16,
        lora_alpha=adapter.alpha or 32,
        lora_dropout=float(adapter.dropout or 0),
        target_modules=ALL_LINEAR if ALL_LINEAR in targets else list(targets),
        task_type="CAUSAL_LM",
    )
    with warnings.catch_warnings():
        # PEFT 0.21 asks Transformers by a name that it has since changed.
        warnings.filterwarnings("ignore", "`is_gradient_checkpointing`", FutureWarning)
        model: torch.nn.Module = get_peft_model(base, config)
    return model


def check_targets(base: Any, targets: list[str]) -> None:
    """Raise UserError when a name in `targets` is no linear layer of `base`."""
    linear = [name for name, part in base.named_modules() if isinstance(part, torch.nn.Linear)]
    unknown = [
        target
        for target in targets
        if target != ALL_LINEAR
        and not any(name == target or name.endswith(f".{target}") for name in linear)
    ]
    if unknown:
        known = sorted({name.rpartition(".")[2] for name in linear})[:_NAMES_SHOWN]
        raise UserError(
            Reason.INVALID_SPEC,
            f"the model has no linear layer named {', '.join(unknown)}; it has "
            f"{', '.join(known)} (or write {ALL_LINEAR})",
            where="spec.adapter.targetModules",
        )
    embeddings = base.get_output_embeddings() if hasattr(base, "get_output_embeddings") else None
    head = next((name for name, part in base.named_modules() if part is embeddings), None)
    tied = getattr(getattr(base, "config", None), "tie_word_embeddings", False)
    if tied and head is not None and head.rpartition(".")[2] in targets:
        raise UserError(
            Reason.INVALID_SPEC,
            f"{head} shares its weights with the input embeddings, so it cannot carry an adapter",
            where="spec.adapter.targetModules",
        )


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
