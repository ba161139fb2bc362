"""TRL's GRPO trainer, with our prompts in our order, our sampling and our rewards: groups, loss and
updates are its own."""

import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from datasets import Dataset
from finetune_api.spec import FineTuneJobSpec, Grpo, GrpoLoss
from trl.trainer.grpo_config import GRPOConfig
from trl.trainer.grpo_trainer import GRPOTrainer

from finetune_trainer.arrays import Int64
from finetune_trainer.engine.determinism import seed_everything
from finetune_trainer.engine.distributed import Comm
from finetune_trainer.engine.plan import Plan
from finetune_trainer.engine.settings import StepSettings
from finetune_trainer.online.generation import Sampling, write_answers
from finetune_trainer.online.rollouts import Rollouts
from finetune_trainer.prepared import PreparedSplit
from finetune_trainer.rewards.judge import Judge, RightAnswers
from finetune_trainer.trl_engine.kernels import compile_only_where_possible
from finetune_trainer.trl_engine.order import StepBatches, StepLoader
from finetune_trainer.trl_engine.trainers import (
    Ours,
    common_options,
    device_of,
    frozen_copy,
    optimizer_of,
)
from finetune_trainer.trl_engine.watch import StepWatch

_LOSSES = {GrpoLoss.GRPO: "grpo", GrpoLoss.DR_GRPO: "dr_grpo", GrpoLoss.DAPO: "dapo"}
_UNKNOWN = ("max_length", "router_aux_loss_coef")


class _Answers:
    """Writes and judges what a step learns from; TRL asks for both in turn."""

    __name__ = "judge"

    def __init__(
        self,
        comm: Comm,
        split: PreparedSplit,
        sampling: Sampling,
        judge: Judge,
        wanted: RightAnswers | None,
        settings: StepSettings,
        watch: StepWatch,
    ) -> None:
        self._comm = comm
        self._split = split
        self._sampling = sampling
        self._judge = judge
        self._wanted = wanted
        self._settings = settings
        self._watch = watch

    def write(self, prompts: Sequence[str], trainer: Any) -> dict[str, Any]:
        """Answers of the model; a prompt is the number of its unit."""
        # As a step of our own engine begins.
        seed_everything(self._settings.seed, trainer.state.global_step, self._comm.rank)
        tokens = [self._split.row(int(unit))[0] for unit in prompts]
        answers = write_answers(
            trainer.model,
            tokens,
            self._sampling,
            comm=self._comm,
            precision=self._settings.precision,
            micro_batch_tokens=self._settings.micro_batch_tokens,
        )
        self._watch.before_pass()
        trainer.model.train()
        labels = sum(map(len, answers))
        self._watch.read(sum(map(len, tokens)) + labels, labels)
        return {
            "prompt_ids": [row.tolist() for row in tokens],
            "completion_ids": answers,
            "logprobs": None,
        }

    def __call__(
        self, prompts: Sequence[str], completion_ids: Sequence[Sequence[int]], **_: Any
    ) -> list[float]:
        """What the answers are worth."""
        units = np.array([int(unit) for unit in prompts], np.int64)
        rollouts = Rollouts.of(self._split, units, completion_ids, self._sampling)
        verdict = self._judge.judge(self._comm, rollouts, self._wanted, self._settings)
        return [float(reward) for reward in verdict.total]


class _Grpo(Ours, GRPOTrainer):  # type: ignore[misc]
    """Groups of answers, which are written in the step."""

    batches_hold_tokens = False


def make_grpo_trainer(
    spec: FineTuneJobSpec,
    model: Any,
    split: PreparedSplit,
    plan: Plan,
    *,
    comm: Comm,
    sampling: Sampling,
    judge: Judge,
    wanted: RightAnswers | None,
    settings: StepSettings,
    tokenizer: Any,
    folder: Path,
    watch: StepWatch,
) -> Any:
    """The trainer of a resolved spec, ready to train `model` in place, on the prompts of `split`.

    Args:
        wanted: right answers of the units of `split`.
        settings: of the passes that write and judge answers.
        folder: scratch; nothing of use is written there.
    """
    compile_only_where_possible()
    assert spec.grpo is not None, "the API asks for it"
    generations = spec.grpo.generations
    batches = StepBatches(plan, plan.batch)

    def repeated(_: PreparedSplit, units: Int64) -> Any:
        return [{"prompt": str(unit)} for unit in units for _ in range(generations)]

    answers = _Answers(comm, split, sampling, judge, wanted, settings, watch)
    options = common_options(spec, plan, batches, folder, on_cpu=device_of(model).type == "cpu")
    loader = StepLoader(split, batches, repeated)
    with warnings.catch_warnings():
        # It may change, and TRL's version is pinned.
        warnings.filterwarnings("ignore", "You are using 'rollout_func'", UserWarning)
        trainer = _Grpo(
            loader=loader,
            watch=watch,
            precision=spec.training.precision,
            model=model,
            reward_funcs=answers,
            rollout_func=answers.write,
            args=_config(spec.grpo, options, plan),
            # TRL wants a data set to look at; batches come from the loader.
            train_dataset=Dataset.from_dict({"prompt": [str(n) for n in range(split.units)]}),
            processing_class=tokenizer,
            optimizers=optimizer_of(spec, model, plan),
        )
    if trainer.ref_model is not None:
        trainer.ref_model = frozen_copy(model)
    return trainer


def _config(settings: Grpo, options: dict[str, Any], plan: Plan) -> GRPOConfig:
    known = {name: value for name, value in options.items() if name not in _UNKNOWN}
    return GRPOConfig(
        **known,
        per_device_train_batch_size=plan.batch * settings.generations,
        num_generations=settings.generations,
        max_completion_length=settings.max_new_tokens,
        loss_type=_LOSSES[settings.loss_type],
        beta=float(settings.beta),
        epsilon=float(settings.clip_low),
        epsilon_high=float(settings.clip_high),
        scale_rewards="group" if settings.scale_rewards else "none",
        temperature=float(settings.temperature),
    )
