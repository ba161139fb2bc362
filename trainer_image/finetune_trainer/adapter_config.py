"""Reads a PEFT adapter's adapter_config.json and refuses what cannot be trained further here."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from finetune_api.errors import UserError
from finetune_api.reasons import Reason
from finetune_api.spec import AdapterType

ADAPTER_CONFIG = "adapter_config.json"
ADAPTER_WEIGHTS = "adapter_model.safetensors"

_UNDERSTOOD = frozenset(
    {
        "peft_type",
        "r",
        "lora_alpha",
        "lora_dropout",
        "target_modules",
        "exclude_modules",
        "layers_to_transform",
        "layers_pattern",
        "fan_in_fan_out",
        "rank_pattern",
        "alpha_pattern",
        "use_rslora",
        "use_dora",
    }
)
_WITHOUT_EFFECT = frozenset(
    {
        "auto_mapping",
        "base_model_name_or_path",
        "revision",
        "inference_mode",
        "peft_version",
        "task_type",
        "megatron_core",
        "qalora_group_size",
        "runtime_config",
    }
)
"""Keys that change no number once the adapter's weights are loaded. Of auto_mapping only a class
of Transformers is let through."""
_PLAIN_STARTS = (True, False, None, "gaussian", "orthogonal")
"""Values of init_lora_weights that leave the base's weights as they are."""


@dataclass(frozen=True)
class AdapterFacts:
    """What adapter_config.json says of an adapter."""

    type: AdapterType
    rank: int
    alpha: int | float
    base_name: str | None
    """base_model_name_or_path."""


def read_adapter_config(config: Mapping[str, Any], where: str) -> AdapterFacts:
    """The facts of a LoRA adapter that Transformers alone can load.

    Raises UserError ModelInvalid for another kind of adapter, one that brings code, and one with
    parts beside its low-rank updates.
    """
    if config.get("peft_type") != "LORA":
        kind = str(config.get("peft_type"))[:64]
        raise _invalid(
            f"is an adapter of type {kind}; only LORA adapters can be started from", where
        )
    mapping = config.get("auto_mapping") or {}
    library = str(mapping.get("parent_library") if isinstance(mapping, dict) else mapping)
    if mapping and not library.startswith("transformers."):
        raise _invalid(f"asks for code from {library[:64]} (auto_mapping), which is not run", where)
    for key, value in config.items():
        if not _is_harmless(key, value):
            raise _invalid(
                f"uses {key[:64]}, which cannot be trained further here; merge the adapter into "
                "its base with PEFT and give the merged model",
                where,
            )
    rank, alpha = config.get("r"), config.get("lora_alpha")
    if not isinstance(rank, int) or not isinstance(alpha, int | float) or min(rank, alpha) <= 0:
        raise _invalid("has no whole rank (r) or no lora_alpha above 0", where)
    name = config.get("base_model_name_or_path")
    return AdapterFacts(_type_of(config, where), rank, alpha, str(name) if name else None)


def _is_harmless(key: str, value: object) -> bool:
    if key == "init_lora_weights":
        return any(value is plain or value == plain for plain in _PLAIN_STARTS)
    return key in _UNDERSTOOD | _WITHOUT_EFFECT or not value or value == "none"


def _type_of(config: Mapping[str, Any], where: str) -> AdapterType:
    if config.get("use_dora") and config.get("use_rslora"):
        raise _invalid("uses use_dora and use_rslora together, which is not supported here", where)
    if config.get("use_dora"):
        return AdapterType.DORA
    return AdapterType.RSLORA if config.get("use_rslora") else AdapterType.LORA


def _invalid(message: str, where: str) -> UserError:
    return UserError(Reason.MODEL_INVALID, message, where=where)
