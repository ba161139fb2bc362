"""Training by TRL: its trainer does the steps, the rest of the run is as ever.

There are no checkpoints (Transformers' are pickles), so whoever is interrupted starts again.
"""

import warnings
from pathlib import Path
from typing import Any

import torch
from transformers import AutoTokenizer

from finetune_trainer.checkpoint.header import METRICS_FILE
from finetune_trainer.engine.interrupt import interrupted
from finetune_trainer.engine.mixture import plan_of
from finetune_trainer.engine.plan import Plan
from finetune_trainer.engine.step import StepResult
from finetune_trainer.prepared import Prepared
from finetune_trainer.stages.context import Run
from finetune_trainer.stages.divergence import check_divergence
from finetune_trainer.stages.metrics import MetricsLog
from finetune_trainer.stages.online import Answering
from finetune_trainer.trl_engine.grpo import make_grpo_trainer
from finetune_trainer.trl_engine.keeping import only_parameters_change
from finetune_trainer.trl_engine.trainers import make_trainer
from finetune_trainer.trl_engine.watch import StepWatch

_SCRATCH = "trl"


def train_with_trl(
    run: Run,
    model: torch.nn.Module,
    prepared: Prepared,
    tokenizer_folder: Path,
    answering: Answering | None = None,
) -> int:
    """Do all steps on `model`, in place; their number.

    Args:
        answering: how the model answers prompts, where it is trained on its own answers.

    Raises InterruptedRunError between forward passes, and UserError DIVERGED.
    """
    plan = plan_of(run.file.spec, prepared)
    follower = _Follower(run, plan)
    tokenizer: Any = AutoTokenizer.from_pretrained(
        tokenizer_folder, local_files_only=True, trust_remote_code=False
    )
    with only_parameters_change(model), warnings.catch_warnings():
        # TRL calls Transformers by names that it has since changed.
        warnings.simplefilter("ignore", FutureWarning)
        common: dict[str, Any] = {
            "tokenizer": tokenizer,
            "folder": run.work / _SCRATCH,
            "watch": StepWatch(follower.check_stop, follower.after_step),
        }
        what = (run.file.spec, model, prepared.train, plan)
        settings = run.scoring_settings(prepared.train)
        if answering is not None:
            trainer = make_grpo_trainer(
                *what,
                comm=run.comm,
                sampling=answering.sampling,
                judge=answering.judge,
                wanted=prepared.answers[0] if prepared.answers else None,
                settings=settings,
                **common,
            )
        else:
            trainer = make_trainer(
                *what,
                partners=prepared.partners[0] if prepared.partners else None,
                tokens_per_pass=settings.micro_batch_tokens,
                **common,
            )
        trainer.train()
    return plan.total_steps


class _Follower:
    """Tells a run's steps as our own engine's are told."""

    def __init__(self, run: Run, plan: Plan) -> None:
        self._run = run
        self._plan = plan
        self._metrics = MetricsLog(run.report_folder / METRICS_FILE)
        self._skipped = 0
        run.known.last_step = 0
        if run.progress is not None:
            run.progress.at_step(0, plan.total_steps)

    def check_stop(self) -> None:
        """Between forward passes: raise InterruptedRunError when asked to stop."""
        self._run.comm.pulse.beat()
        if self._run.comm.stop_is_known():
            step, total = self._run.known.last_step, self._plan.total_steps
            raise interrupted(f"TRL saves no checkpoint: {step} of {total} steps are done again")

    def after_step(self, step: int, result: StepResult, seconds: float) -> None:
        """Step `step` is done, counted from 1."""
        run = self._run
        run.known.last_step = step
        run.comm.pulse.beat()
        self._metrics.append(step, self._plan.epoch_after(step), result, seconds)
        if run.progress is not None:
            run.progress.after_step(step, self._plan.total_steps, result, seconds)
        self._skipped += result.skipped
        check_divergence(run.file.spec.training, steps=step, skipped=self._skipped)
