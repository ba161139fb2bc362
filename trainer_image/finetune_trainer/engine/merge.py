"""Merges an adapter into its base: a whole model, as any server loads it."""

import json
import shutil
from pathlib import Path
from typing import Any

from peft.tuners.lora import LoraLayer

from finetune_trainer.adapter_config import ADAPTER_CONFIG
from finetune_trainer.engine.adapters import trained_adapter
from finetune_trainer.engine.model import Head, load_base
from finetune_trainer.handover import hand_over

SHARD_SIZE = "5GB"
"""Largest weight file; bigger models are split and get an index."""


def merge_folders(base: Path, adapter: Path, handed_over: Path, target: Path) -> None:
    """Write to `target` the model in `base` with the adapter in `adapter` merged into it.

    Weights keep the type that the base is stored in. Runs on the host, whose memory must hold the
    base once.

    Args:
        handed_over: folder of the tokenizer and what else goes along.
    """
    shutil.rmtree(target, ignore_errors=True)
    config = json.loads((adapter / ADAPTER_CONFIG).read_text(encoding="utf-8"))
    head = Head.REWARD if config.get("task_type") == "SEQ_CLS" else Head.TOKENS
    merged = merge(trained_adapter(load_base(base, "auto", head), adapter, dropout=0.0))
    merged.save_pretrained(target, max_shard_size=SHARD_SIZE)
    hand_over(handed_over, None, target)


def merge(model: Any) -> Any:
    """The base of `model` with its adapter merged; `model` is used up.

    Each layer is merged in fp32 and rounded once.
    """
    for part in model.modules():
        if isinstance(part, LoraLayer):
            base = part.get_base_layer()
            dtype = base.weight.dtype
            base.float()
            part.merge()
            base.to(dtype)
    return model.unload()
