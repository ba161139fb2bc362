"""The folder that is published: flat, as vLLM, KServe and PEFT load it."""

import json
import shutil
from pathlib import Path
from typing import Any

import torch
from finetune_api.manifest import ORIGIN_FILE, Origin
from finetune_api.spec import Adapter, hub_name

from finetune_trainer.adapter_config import ADAPTER_CONFIG
from finetune_trainer.engine.adapters import save_adapter
from finetune_trainer.engine.merge import SHARD_SIZE
from finetune_trainer.engine.model import ModelSettings, compute_dtype, load_model
from finetune_trainer.handover import CHAT_TEMPLATE, hand_over
from finetune_trainer.prepared import Prepared
from finetune_trainer.stages.context import Run
from finetune_trainer.stages.fetch import Fetched

_BASE_NAME = "base_model_name_or_path"


def round_to_published(run: Run, model: torch.nn.Module) -> None:
    """Give full weights the type that they are published in, so that what is measured is what
    is published. Adapters are published as they train, in fp32."""
    if run.full_weights:
        model.to(compute_dtype(run.file.spec.training.precision))


def save_result(run: Run, model: Any, prepared: Prepared, handed_over: Path) -> None:
    """Write the result to `run.result_folder`."""
    folder = run.result_folder
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    if run.full_weights:
        model.config.use_cache = True
        model.save_pretrained(folder, max_shard_size=SHARD_SIZE)
    else:
        save_adapter(model, folder)
    hand_over(handed_over, None, folder)
    if prepared.metadata.chat_template is not None:
        text = prepared.metadata.chat_template
        (folder / CHAT_TEMPLATE).write_text(text, encoding="utf-8")


def load_result(run: Run, base_folder: Path, adapter: Adapter) -> torch.nn.Module:
    """The trained model from `run.result_folder`.

    Args:
        adapter: settled for the start model.
    """
    settings = ModelSettings.of(adapter, run.file.spec.training, run.file.spec.method)
    if run.full_weights:
        model = load_model(run.result_folder, settings, run.comm.device)
        round_to_published(run, model)
        return model
    return load_model(base_folder, settings, run.comm.device, run.result_folder)


def base_name(run: Run, fetched: Fetched, *, merged: bool) -> str:
    """Name of the base that the result is published under.

    A base that was merged for this run has no name but its address.
    """
    if merged:
        return run.here.base
    given = run.file.spec.model.id
    address = hub_name(fetched.start.model_uri) or fetched.start.model_uri
    if given is not None or fetched.adapter is None:
        return given or address
    config = json.loads((fetched.adapter / ADAPTER_CONFIG).read_text(encoding="utf-8"))
    return str(config.get(_BASE_NAME) or address)


def name_base(folder: Path, name: str, origin: Origin) -> dict[str, Any]:
    """Say in the adapter's `folder` which base it belongs to, and where that lies; its
    configuration."""
    path = folder / ADAPTER_CONFIG
    config: dict[str, Any] = json.loads(path.read_text(encoding="utf-8")) | {_BASE_NAME: name}
    path.write_text(json.dumps(config, indent=2, sort_keys=True), encoding="utf-8")
    (folder / ORIGIN_FILE).write_text(json.dumps(origin.to_wire(), indent=1), encoding="utf-8")
    return config
