"""The contestants: the engine, a loop written by hand, and TRL's trainers.

All start from the same weights with the same LoRA, take the same number of rows in an optimizer
step, compute in fp32, and report the label tokens of the rows over the seconds of training.
Loading is not counted; the reference pass of DPO is.
"""

import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import torch
from finetune_api.spec import Adapter, Dpo, Precision, Training
from finetune_trainer.engine.batches import Float32, MicroBatch, make_batch
from finetune_trainer.engine.distributed import Comm
from finetune_trainer.engine.model import ModelSettings, load_model, trainable
from finetune_trainer.engine.packing import UnitSizes
from finetune_trainer.engine.plan import Mixture, Plan
from finetune_trainer.engine.scoring import row_logprobs
from finetune_trainer.engine.settings import StepSettings
from finetune_trainer.engine.step import Engine, Rows
from finetune_trainer.methods import dpo, sft
from finetune_trainer.methods.objective import Objective
from finetune_trainer.prepared import PreparedSplit
from torch.nn import functional

from benchmarks.trainer.workload import LONGEST, RANK, Workload, split_of

BATCH = 32
"""Rows, or pairs, in an optimizer step."""
PER_DEVICE = 8
"""Rows in one forward pass of TRL, its default."""
LEARNING_RATE = "1e-4"
CPU = torch.device("cpu")
ADAPTER = Adapter(rank=RANK, alpha=2 * RANK, dropout="0", target_modules=["all-linear"])
TRAINING = Training(
    global_batch_size=BATCH,
    learning_rate=LEARNING_RATE,
    precision=Precision.FP32,
    gradient_checkpointing=False,
    epochs="1",
)


def engine(work: Workload) -> float:
    """Label tokens in a second of this project's engine."""
    split = split_of(work)
    objective: Objective = dpo.objective(Dpo()) if work.rejected else sft.OBJECTIVE
    made = _make_engine(work, split, objective)
    began = time.perf_counter()
    while not made.finished:
        made.run_step()
    seconds = time.perf_counter() - began
    if work.rejected:
        seconds += _reference_seconds(work, split)
    return work.label_tokens / seconds


def endless_engine(work: Workload, batch: int) -> Engine:
    """An SFT engine that has steps enough for any measurement."""
    split = split_of(work)
    model = load_model(work.model, ModelSettings.of(ADAPTER, TRAINING), CPU)
    plan = Plan.make(
        mixture=Mixture.concat(split.units), batch=batch, seed=0, epochs="1000", max_steps=None
    )
    return Engine.make(
        Comm.alone(), model, Rows(split, plan), objective=sft.OBJECTIVE, training=TRAINING
    )


def loop(work: Workload) -> float:
    """Label tokens in a second of a loop over packed rows, laid out beforehand."""
    split = split_of(work)
    model = load_model(work.model, ModelSettings.of(ADAPTER, TRAINING), CPU)
    parameters = [parameter for _, parameter in trainable(model)]
    optimizer = torch.optim.AdamW(parameters, lr=1e-4, weight_decay=0.0, fused=True)
    steps = list(_packed_steps(split))
    model.train()
    began = time.perf_counter()
    for batches in steps:
        count = sum(batch.labels for batch in batches)
        for batch in batches:
            output = model(
                input_ids=batch.input_ids,
                position_ids=batch.position_ids,
                use_cache=False,
                logits_to_keep=batch.label_positions,
            )
            targets = batch.targets.flatten()[batch.label_positions]
            loss = functional.cross_entropy(output.logits[0], targets, reduction="sum")
            torch.autograd.backward(loss / count)
        torch.nn.utils.clip_grad_norm_(parameters, 1.0)
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)
    return work.label_tokens / (time.perf_counter() - began)


def trl_sft(work: Workload, *, packing: bool) -> float:
    """Label tokens in a second of TRL's SFTTrainer as it comes, but for the options that make it
    do the same work."""
    from datasets import Dataset
    from trl.trainer.sft_config import SFTConfig
    from trl.trainer.sft_trainer import SFTTrainer

    rows = [
        {"input_ids": prompt + answer, "completion_mask": [0] * len(prompt) + [1] * len(answer)}
        for prompt, answer in zip(work.prompts, work.completions, strict=True)
    ]
    with _quiet_folder() as folder:
        config = SFTConfig(max_length=LONGEST, packing=packing, **_common(folder, packing=packing))
        trainer = SFTTrainer(
            model=_with_lora(work),
            args=config,
            train_dataset=Dataset.from_list(rows),
            processing_class=_tokenizer(work),
        )
        return _timed(trainer, work.label_tokens)


def trl_dpo(work: Workload) -> float:
    """Label tokens in a second of TRL's DPOTrainer as it comes; the reference is the model
    without its adapter."""
    from datasets import Dataset
    from trl.trainer.dpo_config import DPOConfig
    from trl.trainer.dpo_trainer import DPOTrainer

    tokenizer = _tokenizer(work)
    triples = zip(work.prompts, work.completions, work.rejected, strict=True)
    rows = [
        {
            "prompt": tokenizer.decode(prompt),
            "chosen": " " + tokenizer.decode(chosen),
            "rejected": " " + tokenizer.decode(rejected),
        }
        for prompt, chosen, rejected in triples
    ]
    with _quiet_folder() as folder:
        config = DPOConfig(max_length=2 * LONGEST, **_common(folder, packing=False))
        trainer = DPOTrainer(
            model=_with_lora(work),
            args=config,
            train_dataset=Dataset.from_list(rows),
            processing_class=tokenizer,
        )
        return _timed(trainer, work.label_tokens)


def _make_engine(work: Workload, split: PreparedSplit, objective: Objective) -> Engine:
    model = load_model(work.model, ModelSettings.of(ADAPTER, TRAINING), CPU)
    plan = _plan(split)
    reference: Float32 | None = None
    if objective.needs_reference:
        # Its time is measured apart; while training, where the numbers come from is no matter.
        reference = np.zeros(len(split), np.float32)
    rows = Rows(split, plan, reference)
    return Engine.make(Comm.alone(), model, rows, objective=objective, training=TRAINING)


def _reference_seconds(work: Workload, split: PreparedSplit) -> float:
    """Seconds of the reference pass over all rows."""
    model = load_model(work.model, ModelSettings.of(ADAPTER, TRAINING), CPU)
    settings = StepSettings.of(TRAINING, 2048)
    began = time.perf_counter()
    row_logprobs(
        model,
        split,
        np.arange(split.units),
        settings=settings,
        device=CPU,
        before_each=lambda: None,
    )
    return time.perf_counter() - began


def _plan(split: PreparedSplit) -> Plan:
    mixture = Mixture.concat(split.units)
    return Plan.make(mixture=mixture, batch=BATCH, seed=0, epochs="1", max_steps=None)


def _packed_steps(split: PreparedSplit) -> Iterator[list[MicroBatch]]:
    plan = _plan(split)
    sizes = UnitSizes.of(split)
    for step in range(plan.total_steps):
        units = plan.units_of(step)
        (bins,) = sizes.lay_out(units, 1, 2048, packing=True)
        yield [make_batch(split, units, chosen, packing=True) for chosen in bins]


def _with_lora(work: Workload) -> Any:
    """The model that the engine loads, for TRL to train as it is."""
    return load_model(work.model, ModelSettings.of(ADAPTER, TRAINING), CPU)


def _tokenizer(work: Workload) -> Any:
    from transformers import AutoTokenizer

    return AutoTokenizer.from_pretrained(work.model)


def _common(folder: Path, *, packing: bool) -> dict[str, Any]:
    # A packed row of TRL holds about LONGEST tokens, so that fewer of them make the same batch.
    per_step = 8 if packing else BATCH
    return {
        "output_dir": str(folder),
        "per_device_train_batch_size": min(PER_DEVICE, per_step),
        "gradient_accumulation_steps": max(1, per_step // PER_DEVICE),
        "learning_rate": float(LEARNING_RATE),
        "num_train_epochs": 1,
        "gradient_checkpointing": False,
        "bf16": False,
        "use_cpu": True,
        "report_to": [],
        "save_strategy": "no",
        "logging_strategy": "no",
        "disable_tqdm": True,
    }


def _timed(trainer: Any, labels: int) -> float:
    began = time.perf_counter()
    trainer.train()
    return labels / (time.perf_counter() - began)


@contextmanager
def _quiet_folder() -> Iterator[Path]:
    with tempfile.TemporaryDirectory(prefix="benchmark-trl-") as folder:
        yield Path(folder)
