"""TRL's trainers, fed with our batches, in our order, at our learning rates."""

import copy
from collections.abc import Callable
from contextlib import AbstractContextManager
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from datasets import Dataset
from finetune_api.spec import DpoLoss, FineTuneJobSpec, Method, Precision
from transformers import PrinterCallback, Trainer
from trl.trainer.dpo_config import DPOConfig
from trl.trainer.dpo_trainer import DPOTrainer
from trl.trainer.kto_config import KTOConfig
from trl.trainer.kto_trainer import KTOTrainer
from trl.trainer.reward_config import RewardConfig
from trl.trainer.reward_trainer import RewardTrainer
from trl.trainer.sft_config import SFTConfig
from trl.trainer.sft_trainer import SFTTrainer

from finetune_trainer.arrays import Int64
from finetune_trainer.engine.model import computing
from finetune_trainer.engine.optimizer import make_optimizer, set_rate
from finetune_trainer.engine.plan import Plan
from finetune_trainer.engine.schedule import Schedule
from finetune_trainer.methods.kto import class_weights
from finetune_trainer.prepared import PreparedSplit
from finetune_trainer.trl_engine.batches import (
    Batch,
    dpo_batch,
    kto_batch,
    reward_batch,
    sft_batch,
)
from finetune_trainer.trl_engine.kernels import compile_only_where_possible
from finetune_trainer.trl_engine.order import StepBatches, StepLoader, units_per_pass
from finetune_trainer.trl_engine.watch import StepWatch

_LOSSES = {DpoLoss.SIGMOID: "sigmoid", DpoLoss.HINGE: "hinge"}


class Ours(Trainer):  # type: ignore[misc]
    """What TRL's trainers leave to this project."""

    batches_hold_tokens = True

    def __init__(
        self, loader: StepLoader, watch: StepWatch, precision: Precision, **rest: Any
    ) -> None:
        self._loader = loader
        self._watch = watch
        self._precision = precision
        super().__init__(callbacks=[watch], **rest)
        self.remove_callback(PrinterCallback)

    def get_train_dataloader(self) -> StepLoader:
        return self._loader

    def compute_loss_context_manager(self) -> AbstractContextManager[Any]:
        return computing(self._precision, self.args.device)

    def get_batch_samples(self, *args: Any) -> Any:
        batches, labels = super().get_batch_samples(*args)
        self._watch.begin_step(batches if self.batches_hold_tokens else ())
        return batches, labels

    def training_step(self, *args: Any, **rest: Any) -> torch.Tensor:
        self._watch.before_pass()
        loss: torch.Tensor = super().training_step(*args, **rest)
        self._watch.after_pass(loss)
        return loss

    def _send_telemetry(self) -> None:
        """Tell nobody."""


class _Sft(Ours, SFTTrainer):  # type: ignore[misc]
    """Its loss is the mean over the label tokens of the step already."""


class _MeanOfUnits(Ours):
    """TRL takes the mean of its passes' means, and passes of a step may differ by a unit: here
    what is minimised and told is the mean over the units of the step."""

    def _prepare_dataset(self, dataset: Dataset, *_: Any) -> Dataset:
        """The rows are tokens already."""
        return dataset

    def get_batch_samples(self, *args: Any) -> Any:
        batches, labels = super().get_batch_samples(*args)
        self._rows = [len(batch["input_ids"]) for batch in batches]
        return batches, labels

    def compute_loss(self, model: Any, inputs: Any, *args: Any, **rest: Any) -> torch.Tensor:
        mean: torch.Tensor = super().compute_loss(model, inputs, *args, **rest)
        share: float = len(inputs["input_ids"]) / sum(self._rows)
        passes: int = self.current_gradient_accumulation_steps
        return mean * (share * passes)

    def log(self, *args: Any, **rest: Any) -> None:
        told = self._metrics["train"]
        for name, each in told.items():
            if len(each) == len(self._rows):
                told[name] = [float(np.average(each, weights=self._rows))]
        super().log(*args, **rest)


class _Dpo(_MeanOfUnits, DPOTrainer):  # type: ignore[misc]
    """Pairs and a reference."""


class _Kto(_MeanOfUnits, KTOTrainer):  # type: ignore[misc]
    """Rows with labels; TRL estimates the KL in each forward pass."""


class _Reward(_MeanOfUnits, RewardTrainer):  # type: ignore[misc]
    """Pairs of which one answer is better."""


def make_trainer(
    spec: FineTuneJobSpec,
    model: Any,
    split: PreparedSplit,
    plan: Plan,
    *,
    partners: PreparedSplit | None,
    tokens_per_pass: int,
    tokenizer: Any,
    folder: Path,
    watch: StepWatch,
) -> Any:
    """The trainer of a resolved spec, ready to train `model` in place, from rows of `split`.

    Args:
        partners: of KTO the partner row of each unit.
        tokens_per_pass: most tokens of one forward pass, padding included.
        folder: scratch; nothing of use is written there.
    """
    compile_only_where_possible()
    batches = StepBatches(plan, units_per_pass(split, tokens_per_pass))
    options = common_options(spec, plan, batches, folder, on_cpu=device_of(model).type == "cpu")
    loader = StepLoader(split, batches, _batch_maker(spec, partners, tokenizer))
    parts = {
        "loader": loader,
        "watch": watch,
        "precision": spec.training.precision,
        "model": model,
        "data_collator": loader.collate_fn,
        # TRL wants a data set to look at; batches come from the loader.
        "train_dataset": Dataset.from_dict({"unit": np.arange(split.units)}),
        "processing_class": tokenizer,
        "optimizers": optimizer_of(spec, model, plan),
    }
    match spec.method:
        case Method.DPO:
            return _Dpo(args=_dpo(spec, options), ref_model=frozen_copy(model), **parts)
        case Method.KTO:
            return _Kto(args=_kto(spec, options, split), ref_model=frozen_copy(model), **parts)
        case Method.REWARD:
            return _Reward(args=_reward(spec, options), **parts)
    unprepared = {"skip_prepare_dataset": True}
    return _Sft(args=SFTConfig(**options, dataset_kwargs=unprepared, packing=False), **parts)


def _batch_maker(
    spec: FineTuneJobSpec, partners: PreparedSplit | None, tokenizer: Any
) -> Callable[[PreparedSplit, Int64], Batch]:
    match spec.method:
        case Method.DPO:
            return dpo_batch
        case Method.KTO:
            assert partners is not None, "the data has partner rows for this method"
            return lambda split, units: kto_batch(split, partners, units)
        case Method.REWARD:
            assert spec.reward is not None, "resolve() fills it in"
            token = tokenizer.pad_token_id
            padding = tokenizer.eos_token_id if token is None else token
            return partial(reward_batch, padding=padding, margin=spec.reward.margin)
    return sft_batch


def common_options(
    spec: FineTuneJobSpec, plan: Plan, batches: StepBatches, folder: Path, *, on_cpu: bool
) -> dict[str, Any]:
    """Options of either trainer. Precision, order, rates, decay and gradient checkpointing are
    not among them: trainer, loader, optimizer and model bring them."""
    return {
        "output_dir": str(folder),
        "max_steps": plan.total_steps,
        "gradient_accumulation_steps": batches.passes_in_step,
        "max_grad_norm": float(spec.training.max_grad_norm),
        "seed": spec.training.seed,
        "max_length": None,
        "router_aux_loss_coef": 0.0,
        "bf16": False,
        "activation_checkpointing": False,
        # TRL switches what the model has off and on again, around the reference's passes.
        "activation_checkpointing_kwargs": {"use_reentrant": False},
        "use_cpu": on_cpu,
        "remove_unused_columns": False,
        "logging_strategy": "steps",
        "logging_steps": 1,
        "logging_nan_inf_filter": False,
        "save_strategy": "no",
        "eval_strategy": "no",
        "report_to": [],
        "disable_tqdm": True,
        "push_to_hub": False,
    }


def _dpo(spec: FineTuneJobSpec, options: dict[str, Any]) -> DPOConfig:
    assert spec.dpo is not None, "resolve() fills it in"
    sft_weight = float(spec.dpo.sft_weight)
    losses, weights = [_LOSSES[spec.dpo.loss]], [1.0]
    if sft_weight:
        losses, weights = [*losses, "sft"], [*weights, sft_weight]
    return DPOConfig(**options, beta=float(spec.dpo.beta), loss_type=losses, loss_weights=weights)


def _kto(spec: FineTuneJobSpec, options: dict[str, Any], split: PreparedSplit) -> KTOConfig:
    assert spec.kto is not None, "resolve() fills it in"
    desirable, undesirable = class_weights(spec.kto, split.row_values)
    return KTOConfig(
        **options,
        beta=float(spec.kto.beta),
        desirable_weight=desirable,
        undesirable_weight=undesirable,
    )


def _reward(spec: FineTuneJobSpec, options: dict[str, Any]) -> RewardConfig:
    assert spec.reward is not None, "resolve() fills it in"
    unknown = ("router_aux_loss_coef",)
    known = {name: value for name, value in options.items() if name not in unknown}
    center = float(spec.reward.center_coefficient)
    return RewardConfig(**known, center_rewards_coefficient=center or None)


def frozen_copy(model: Any) -> Any:
    """The model that training starts from: a frozen copy of full weights. Of an adapter TRL makes
    a frozen copy itself, new or not."""
    if hasattr(model, "peft_config"):
        return None
    return copy.deepcopy(model).requires_grad_(requires_grad=False).eval()


def optimizer_of(
    spec: FineTuneJobSpec, model: Any, plan: Plan
) -> tuple[torch.optim.Optimizer, torch.optim.lr_scheduler.LRScheduler]:
    """Our optimizer at the rates of our schedule: Transformers' warm-up begins with a step of
    rate 0."""
    schedule = Schedule.of(spec.training, plan.total_steps)
    optimizer = make_optimizer(model, spec.training)
    set_rate(optimizer, schedule.peak)
    rates = torch.optim.lr_scheduler.LambdaLR(
        optimizer, lambda step: schedule.rate(step) / schedule.peak
    )
    return optimizer, rates


def device_of(model: torch.nn.Module) -> torch.device:
    return next(model.parameters()).device
