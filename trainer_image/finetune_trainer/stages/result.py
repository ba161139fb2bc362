"""The folder that is published: flat, as vLLM, KServe and PEFT load it."""

import copy
import shutil
from pathlib import Path
from typing import Any

import torch
from peft import get_peft_model_state_dict, set_peft_model_state_dict
from safetensors.torch import load_file, save_file

from finetune_trainer.engine.model import ModelSettings, compute_dtype, load_model
from finetune_trainer.prepared import Prepared
from finetune_trainer.stages.context import Run

_ADAPTER_WEIGHTS = "adapter_model.safetensors"
_CHAT_TEMPLATE = "chat_template.jinja"
_COMPANIONS = (
    "tokenizer.json",
    "tokenizer_config.json",
    "tokenizer.model",
    "special_tokens_map.json",
    "added_tokens.json",
    "vocab.json",
    "vocab.txt",
    "merges.txt",
    "spiece.model",
    _CHAT_TEMPLATE,
    "generation_config.json",
)
"""Files of the base that whoever loads the result needs beside the weights."""


def round_to_published(run: Run, model: torch.nn.Module) -> None:
    """Give full weights the type that they are published in, so that what is measured is what
    is published. Adapters are published as they train, in fp32."""
    if run.full_weights:
        model.to(compute_dtype(run.file.spec.training.precision))


def save_result(run: Run, model: Any, prepared: Prepared, base_folder: Path) -> None:
    """Write the result to `run.result_folder`."""
    folder = run.result_folder
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    for name in _COMPANIONS:
        if (base_folder / name).is_file():
            shutil.copyfile(base_folder / name, folder / name)
    if prepared.metadata.chat_template is not None:
        text = prepared.metadata.chat_template
        (folder / _CHAT_TEMPLATE).write_text(text, encoding="utf-8")
    if run.full_weights:
        model.config.use_cache = True
        model.save_pretrained(folder)
    else:
        _save_adapter(folder, model, run.file.spec.model.id or run.file.spec.model.uri)


def load_result(run: Run, base_folder: Path) -> torch.nn.Module:
    """The trained model from `run.result_folder`."""
    spec = run.file.spec
    settings = ModelSettings.of(spec.adapter, spec.training)
    if run.full_weights:
        model = load_model(run.result_folder, settings, run.comm.device)
        round_to_published(run, model)
        return model
    model = load_model(base_folder, settings, run.comm.device)
    set_peft_model_state_dict(model, load_file(run.result_folder / _ADAPTER_WEIGHTS))
    return model


def _save_adapter(folder: Path, model: Any, base_name: str) -> None:
    state = get_peft_model_state_dict(model, save_embedding_layers=False)
    tensors = {name: tensor.detach().cpu().contiguous() for name, tensor in state.items()}
    save_file(tensors, folder / _ADAPTER_WEIGHTS, metadata={"format": "pt"})
    config = copy.deepcopy(model.peft_config["default"])
    config.base_model_name_or_path = base_name
    config.inference_mode = True
    if isinstance(config.target_modules, set):
        config.target_modules = sorted(config.target_modules)
    config.save_pretrained(folder)
