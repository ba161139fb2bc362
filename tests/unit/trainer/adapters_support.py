"""Adapters made on the fly, for tests that start from one."""

import json
import warnings
from pathlib import Path
from typing import Any

import torch
from finetune_api.spec import Adapter, Precision
from finetune_trainer.engine.adapters import save_adapter
from finetune_trainer.engine.model import ModelSettings, load_model, trainable


def make_adapter(base: Path, folder: Path, base_name: str, **settings: Any) -> Path:
    """Save in `folder` an adapter on the model in `base` that changes what it says."""
    adapter = Adapter(**{"rank": 4, "alpha": 8, **settings})
    wish = ModelSettings(adapter, Precision.FP32, gradient_checkpointing=False, seed=0)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        model = load_model(base, wish, torch.device("cpu"))
    torch.manual_seed(3)
    for _, parameter in trainable(model):
        parameter.data += 0.05 * torch.randn_like(parameter)
    folder.mkdir(parents=True, exist_ok=True)
    save_adapter(model, folder)
    configure(folder, base_model_name_or_path=base_name)
    return folder


def configure(folder: Path, **changes: Any) -> None:
    """Change adapter_config.json."""
    path = folder / "adapter_config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | changes))
