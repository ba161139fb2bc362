"""Puts adapters on a base: new ones by the spec, and such that were trained before.

LoRA is Hu et al. 2021 (W + alpha / r * B A), rsLoRA Kalajdzievski 2023 (alpha / sqrt(r)), DoRA Liu
et al. 2024 (the columns' magnitudes train beside the direction).
"""

import copy
import warnings
from pathlib import Path
from typing import Any

import torch
from finetune_api.errors import UserError
from finetune_api.reasons import Reason
from finetune_api.resolve import filled_in
from finetune_api.spec import Adapter, AdapterType
from peft import LoraConfig, get_peft_model, get_peft_model_state_dict, set_peft_model_state_dict
from peft.tuners.lora import LoraLayer
from safetensors import safe_open
from safetensors.torch import load_file, save_file

from finetune_trainer.adapter_config import ADAPTER_WEIGHTS
from finetune_trainer.engine.targets import find_targets, layer_pattern, reward_head

NAME = "default"
"""PEFT's name of the one adapter."""
Layout = dict[str, tuple[int, float]]
"""Full name of a layer -> (rank, alpha) of its update."""


def new_adapter(base: Any, adapter: Adapter) -> Any:
    """`base` with an untrained adapter, which changes no output; takes and raises what
    `new_config` does."""
    return on_base(base, new_config(base, adapter))


def new_config(base: Any, adapter: Adapter) -> LoraConfig:
    """PEFT's configuration of the new adapter that `adapter` describes.

    Raises UserError InvalidSpec when a name in it matches no layer of `base`.
    """
    adapter = filled_in(adapter)
    assert adapter.rank is not None
    assert adapter.alpha is not None
    assert adapter.target_modules is not None
    targets = find_targets(base, adapter.target_modules)
    return LoraConfig(
        r=adapter.rank,
        lora_alpha=adapter.alpha,
        lora_dropout=float(adapter.dropout or 0),
        target_modules=targets.for_peft,
        rank_pattern=layer_pattern(targets.names, adapter.rank_pattern or {}, "rankPattern"),
        alpha_pattern=layer_pattern(targets.names, adapter.alpha_pattern or {}, "alphaPattern"),
        use_rslora=adapter.type is AdapterType.RSLORA,
        use_dora=adapter.type is AdapterType.DORA,
        task_type="SEQ_CLS" if reward_head(base) else "CAUSAL_LM",
        modules_to_save=[reward_head(base)] if reward_head(base) else None,
    )


def on_base(base: Any, config: LoraConfig) -> Any:
    """`base` with an adapter of this configuration."""
    with warnings.catch_warnings():
        # PEFT 0.21 asks Transformers by a name that it has since changed.
        warnings.filterwarnings("ignore", "`is_gradient_checkpointing`", FutureWarning)
        return get_peft_model(base, config)


def trained_adapter(base: Any, folder: Path, dropout: float) -> Any:
    """`base` with the adapter in `folder`, ready to be trained further; its parameters are fp32.

    Raises UserError ModelInvalid when the adapter does not belong on `base`.
    """
    model = adapter_on(base, folder, dropout)
    for parameter in model.parameters():
        if parameter.requires_grad:
            parameter.data = parameter.data.float()
    check_weights(model, folder)
    set_peft_model_state_dict(model, load_file(folder / ADAPTER_WEIGHTS))
    return model


def adapter_on(base: Any, folder: Path, dropout: float) -> Any:
    """`base` with an untrained adapter of the configuration in `folder`.

    Raises UserError ModelInvalid when `base` lacks its layers.
    """
    config = LoraConfig.from_pretrained(str(folder))
    config.lora_dropout = dropout
    config.inference_mode = False
    config.base_model_name_or_path = None  # or PEFT warns that the base lies elsewhere now
    try:
        return on_base(base, config)
    except ValueError as error:
        raise _foreign(f"the base has not all of its layers ({error})") from error


def check_weights(model: Any, folder: Path) -> None:
    """Raise UserError ModelInvalid unless the weights in `folder` have the names and shapes of
    the adapter on `model`."""
    wanted = {name: list(tensor.shape) for name, tensor in adapter_state(model).items()}
    with safe_open(folder / ADAPTER_WEIGHTS, framework="pt") as file:
        found = {name: file.get_slice(name).get_shape() for name in file.keys()}  # noqa: SIM118
    wrong = sorted(n for n in wanted.keys() | found.keys() if wanted.get(n) != found.get(n))
    if wrong:
        name = wrong[0]
        raise _foreign(
            f"{len(wrong)} tensors differ, the first is {name} ({found.get(name, 'missing')} in "
            f"its weights, {wanted.get(name, 'no such layer')} on the base)"
        )


def _foreign(detail: str) -> UserError:
    message = f"the adapter does not belong on this base: {detail}"
    return UserError(Reason.MODEL_INVALID, message, where="spec.model.uri")


def adapter_state(model: Any) -> dict[str, torch.Tensor]:
    """The adapter's tensors by the names that they are published under."""
    state: dict[str, torch.Tensor] = get_peft_model_state_dict(model, save_embedding_layers=False)
    return state


def save_adapter(model: Any, folder: Path) -> None:
    """Write the adapter on `model` to `folder` as PEFT does; the base's name is not set."""
    tensors = {n: t.detach().cpu().contiguous() for n, t in adapter_state(model).items()}
    save_file(tensors, folder / ADAPTER_WEIGHTS, metadata={"format": "pt"})
    config = copy.deepcopy(model.peft_config[NAME])
    config.inference_mode = True
    if isinstance(config.target_modules, set):
        config.target_modules = sorted(config.target_modules)
    config.save_pretrained(folder)


def layout_of(model: Any) -> Layout:
    """Which layers of a model with an adapter carry what update."""
    return {
        name.removeprefix("base_model.model."): (part.r[NAME], part.lora_alpha[NAME])
        for name, part in model.named_modules()
        if isinstance(part, LoraLayer)
    }
