"""The optimisation."""

from enum import StrEnum
from typing import Annotated, ClassVar

from pydantic import Field

from finetune_api.fields import (
    RECIPE,
    ApiModel,
    DecimalBelowOne,
    DecimalNonNegative,
    DecimalPositive,
    DecimalShare,
    Rule,
)

CHOSEN_MICRO_BATCH_TOKENS = 8192
"""Tokens of a forward pass on an accelerator where training.microBatchTokens is absent, if no row
is longer; on CPUs fewer."""


class Scheduler(StrEnum):
    """Course of the learning rate after warm-up."""

    COSINE = "Cosine"
    LINEAR = "Linear"
    CONSTANT = "Constant"


class Precision(StrEnum):
    """Type of the computation; parameters that train stay fp32."""

    BF16 = "BF16"
    FP32 = "FP32"


class TrainingEngine(StrEnum):
    """What does the optimizer steps."""

    NATIVE = "Native"
    TRL = "TRL"


class LossOn(StrEnum):
    """Which tokens of a row are learnt."""

    COMPLETION = "Completion"
    LAST_TURN = "LastTurn"
    ALL = "All"


class EarlyStopping(ApiModel):
    """Ends training when the held-out rows no longer gain."""

    patience: Annotated[int, RECIPE, Field(ge=1, le=1000)]
    """Evaluations in a row that may fail to improve on the best one."""


class Training(ApiModel):
    """The optimisation."""

    RULES: ClassVar[tuple[Rule, ...]] = (
        Rule(
            "!has(self.earlyStopping) || has(self.evalEverySteps)",
            "earlyStopping looks at evaluations: set evalEverySteps",
            lambda training: (
                training.early_stopping is None or training.eval_every_steps is not None
            ),
        ),
        Rule(
            "!(has(self.epochs) && has(self.maxSteps))",
            "give epochs or maxSteps, not both",
            lambda training: training.epochs is None or training.max_steps is None,
        ),
        Rule(
            "!has(self.scheduler) || self.scheduler != 'Constant'"
            " || !has(self.minLearningRateRatio) || double(self.minLearningRateRatio) == 0.0",
            "with scheduler Constant the learning rate does not fall: remove minLearningRateRatio",
            lambda training: (
                training.scheduler is not Scheduler.CONSTANT
                or float(training.min_learning_rate_ratio) == 0
            ),
        ),
    )

    epochs: Annotated[DecimalPositive | None, RECIPE] = None
    """Passes over the training data; "1" when maxSteps is absent too."""
    max_steps: Annotated[int | None, RECIPE, Field(ge=1, le=100_000_000)] = None
    """Steps, in place of epochs: optimizer steps; of PPO and GRPO batches of prompts, each with its
    updates."""
    global_batch_size: Annotated[int, RECIPE, Field(ge=1, le=1_000_000)] = 64
    """Rows (SFT, KTO), pairs (DPO, ORPO), comparisons (Reward), prompts (PPO, GRPO) or blocks
    (CPT) in one step, over all processes; the last step of an epoch may have fewer."""
    micro_batch_tokens: Annotated[int | None, Field(ge=16, le=16_777_216)] = None
    """Largest number of tokens in one forward pass of one process; chosen when absent."""
    sequence_length: Annotated[int, RECIPE, Field(ge=16, le=1_048_576)] = 4096
    """Longest row, or longer side of a pair, in tokens; longer ones are dropped and counted. For
    CPT the tokens of a block: documents are laid one after another and cut. For PPO and GRPO
    a prompt and its answer: prompts that leave no room for maxNewTokens are dropped."""
    loss_on: Annotated[LossOn | None, RECIPE] = None
    """SFT: Completion (when absent) learns every turn of the assistant, LastTurn the last of them,
    All every token of the row but the first, whatever the turns' weights."""
    packing: bool = True
    """Several rows in one forward pass without padding; changes speed, not the result."""
    learning_rate: Annotated[DecimalPositive | None, RECIPE] = None
    """Peak learning rate. When absent, of adapters and of full weights: "2e-4" and "2e-5" for CPT
    and SFT, "1e-4" and "1e-5" for Reward, "5e-6" and "5e-7" for DPO and KTO, "5e-5" and "5e-6" for
    ORPO, "1e-5" and "1e-6" for PPO and GRPO."""
    scheduler: Annotated[Scheduler, RECIPE] = Scheduler.COSINE
    """Course of the learning rate after warm-up."""
    warmup_ratio: Annotated[DecimalBelowOne, RECIPE] = "0.03"
    """Share of all steps in which the learning rate rises from 0."""
    min_learning_rate_ratio: Annotated[DecimalShare, RECIPE] = "0"
    """Learning rate at the end as a share of the peak (Cosine and Linear)."""
    weight_decay: Annotated[DecimalNonNegative, RECIPE] = "0"
    """AdamW's decoupled weight decay."""
    max_grad_norm: Annotated[DecimalPositive, RECIPE] = "1"
    """Gradients are scaled down to this norm."""
    precision: Annotated[Precision, RECIPE] = Precision.BF16
    """Type of the computation."""
    gradient_checkpointing: bool = True
    """Recompute activations in the backward pass: less memory, more time."""
    eval_every_steps: Annotated[int | None, RECIPE, Field(ge=1, le=1_000_000)] = None
    """Optimizer steps between evaluations on the held-out rows, which are also done at the end;
    none when absent."""
    early_stopping: EarlyStopping | None = None
    """Ends training before its last step."""
    seed: Annotated[int, RECIPE, Field(ge=0, le=2_147_483_647)] = 42
    """Seed of everything random."""
    max_skipped_steps: Annotated[int, Field(ge=0, le=1_000_000)] = 10
    """Steps with a loss or gradient that is not finite before the run gives up."""
    engine: Annotated[TrainingEngine, RECIPE] = TrainingEngine.NATIVE
    """Native, or TRL to compare with: TRL's trainer of the method (SFT, Reward, DPO, KTO,
    GRPO) does the steps on the same tokens in the same order, in one process, without packing and
    without checkpoints."""
