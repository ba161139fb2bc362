"""The contestants: the engine, a loop written by hand, and TRL's trainers.

All start from the same weights with the same LoRA, take the same number of rows in an optimizer
step, compute in fp32, and report the label tokens of the rows over the seconds of training.
Loading is not counted; a reference's passes are, and TRL's preparation of preferences.
"""

import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from finetune_api.resolve import resolve
from finetune_api.spec import Adapter, FineTuneJobSpec, Method, Precision, Training
from finetune_trainer.arrays import Float32
from finetune_trainer.data.partners import partners_of
from finetune_trainer.engine.batches import MicroBatch, make_batch
from finetune_trainer.engine.distributed import Comm
from finetune_trainer.engine.model import ModelSettings, load_model, trainable
from finetune_trainer.engine.packing import UnitSizes
from finetune_trainer.engine.plan import Mixture, Plan
from finetune_trainer.engine.scoring import SplitRows, row_logprobs
from finetune_trainer.engine.settings import StepSettings
from finetune_trainer.engine.step import Engine, Rows
from finetune_trainer.methods import objective_of, sft
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


def engine(work: Workload, method: Method) -> float:
    """Label tokens in a second of this project's engine, passes of a reference included."""
    split = split_of(work)
    if method is Method.KTO:
        split = replace(split, row_values=np.arange(len(split), dtype=np.float32) % 2)
    if method is Method.REWARD:
        split = replace(split, row_values=np.tile(np.array([1, 0], np.float32), split.units))
    spec = resolve(_spec(work, method))
    objective = objective_of(spec, split)
    settings = ModelSettings.of(ADAPTER, TRAINING, method)
    model = load_model(work.model, settings, CPU)
    partners = partners_of(split, split, 0, 2 * LONGEST) if objective.preliminary else None
    began = time.perf_counter()
    known, of_partners = (
        _reference(model, each) if each is not None and objective.needs_reference else None
        for each in (split, partners)
    )
    rows = Rows(split, _plan(split), known)
    if partners is not None:
        rows = replace(rows, partners=SplitRows(partners, of_partners))
    made = Engine(Comm.alone(), model, rows, objective=objective, training=TRAINING)
    while not made.finished:
        made.run_step()
    return work.label_tokens / (time.perf_counter() - began)


def _spec(work: Workload, method: Method) -> FineTuneJobSpec:
    uri = work.model.as_uri()
    return FineTuneJobSpec.parse_wire(
        {
            "method": method.value,
            "model": {"uri": uri},
            "data": {"train": [{"uri": f"{uri}/rows"}]},
            "output": {"uri": f"{uri}/out"},
        }
    )


def _reference(model: Any, split: PreparedSplit) -> Float32:
    """The reference pass over all rows."""
    return row_logprobs(
        model,
        split,
        np.arange(split.units),
        settings=StepSettings.of(TRAINING, 2048),
        device=CPU,
        before_each=lambda: None,
    )


def endless_engine(work: Workload, batch: int) -> Engine:
    """An SFT engine that has steps enough for any measurement."""
    split = split_of(work)
    model = load_model(work.model, ModelSettings.of(ADAPTER, TRAINING), CPU)
    plan = Plan.make(
        mixture=Mixture.concat(split.units), batch=batch, seed=0, epochs="1000", max_steps=None
    )
    return Engine(
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
    with quiet_folder() as folder:
        config = SFTConfig(max_length=LONGEST, packing=packing, **_common(folder, packing=packing))
        trainer = SFTTrainer(
            model=with_lora(work),
            args=config,
            train_dataset=Dataset.from_list(rows),
            processing_class=tokenizer_of(work),
        )
        return _timed(trainer, work.label_tokens)


def trl_dpo(work: Workload) -> float:
    """Label tokens in a second of TRL's DPOTrainer as it comes; the reference is the model
    without its adapter."""
    from trl.trainer.dpo_config import DPOConfig
    from trl.trainer.dpo_trainer import DPOTrainer

    return _trl_on_texts(work, DPOTrainer, DPOConfig, _pairs(work))


def trl_orpo(work: Workload) -> float:
    """The same of its ORPOTrainer."""
    from trl.experimental.orpo import ORPOConfig, ORPOTrainer

    return _trl_on_texts(work, ORPOTrainer, ORPOConfig, _pairs(work))


def trl_kto(work: Workload) -> float:
    """The same of its KTOTrainer; every other row is desirable."""
    from trl.trainer.kto_config import KTOConfig
    from trl.trainer.kto_trainer import KTOTrainer

    decode = tokenizer_of(work).decode
    rows = [
        {"prompt": decode(prompt), "completion": f" {decode(answer)}", "label": index % 2 == 1}
        for index, (prompt, answer) in enumerate(zip(work.prompts, work.completions, strict=True))
    ]
    return _trl_on_texts(work, KTOTrainer, KTOConfig, rows)


def trl_reward(work: Workload) -> float:
    """The same of its RewardTrainer."""
    from trl.trainer.reward_config import RewardConfig
    from trl.trainer.reward_trainer import RewardTrainer

    rows = [
        {side: row["prompt"] + row[side] for side in ("chosen", "rejected")} for row in _pairs(work)
    ]
    return _trl_on_texts(work, RewardTrainer, RewardConfig, rows, Method.REWARD)


def _pairs(work: Workload) -> list[dict[str, str]]:
    decode = tokenizer_of(work).decode
    triples = zip(work.prompts, work.completions, work.rejected, strict=True)
    return [
        {"prompt": decode(p), "chosen": f" {decode(c)}", "rejected": f" {decode(r)}"}
        for p, c, r in triples
    ]


def _trl_on_texts(
    work: Workload, trainer: Any, config: Any, rows: list[Any], method: Method = Method.DPO
) -> float:
    """Its preparation of texts and its training, over the same label tokens."""
    from datasets import Dataset

    model = with_lora(work, method)
    with quiet_folder() as folder:
        began = time.perf_counter()
        made = trainer(
            model=model,
            args=config(max_length=2 * LONGEST, **_common(folder, packing=False)),
            train_dataset=Dataset.from_list(rows),
            processing_class=tokenizer_of(work),
        )
        made.train()
        return work.label_tokens / (time.perf_counter() - began)


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


def with_lora(work: Workload, method: Method = Method.SFT) -> Any:
    """The model that the engine loads, for TRL to train as it is."""
    model: Any = load_model(work.model, ModelSettings.of(ADAPTER, TRAINING, method), CPU)
    model.config.pad_token_id = 0
    return model


def tokenizer_of(work: Workload) -> Any:
    """The tokenizer of the workload's model."""
    from transformers import AutoTokenizer

    return AutoTokenizer.from_pretrained(work.model)


def _common(folder: Path, *, packing: bool) -> dict[str, Any]:
    # A packed row of TRL holds about LONGEST tokens, so that fewer of them make the same batch.
    return {"output_dir": str(folder), **trl_options(per_step=8 if packing else BATCH)}


def trl_options(*, per_step: int) -> dict[str, Any]:
    """What all of TRL's trainers are told; a step has `per_step` rows."""
    return {
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
def quiet_folder() -> Iterator[Path]:
    """A folder for what a trainer writes, which goes away."""
    with tempfile.TemporaryDirectory(prefix="benchmark-trl-") as folder:
        yield Path(folder)
