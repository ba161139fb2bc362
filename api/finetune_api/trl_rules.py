"""What `training.engine: TRL` refuses, each with what to write instead.

Whatever of the spec is not refused here changes what TRL does as it changes what our engine does;
docs/decisions/ says how.
"""

from collections.abc import Callable
from typing import TYPE_CHECKING

from finetune_api.fields import Rule

if TYPE_CHECKING:
    from finetune_api.spec import Checkpoints, FineTuneJobSpec

METHODS = ("SFT", "Reward", "DPO", "KTO", "GRPO")
"""Methods that TRL trains here."""


def trl_rules(no_wish: "Checkpoints") -> tuple[Rule, ...]:
    """The rules of a spec.

    Args:
        no_wish: `checkpoints` of a job that says nothing of them.
    """
    return (*_OF_TRAINING, *_OF_DPO, *_OF_GRPO, _no_checkpoints(no_wish))


def _refuse(unless: str, message: str, holds: "Callable[[FineTuneJobSpec], bool]") -> Rule:
    return Rule(
        f"self.training.engine != 'TRL' || ({unless})",
        f"training.engine TRL {message}",
        lambda spec: spec.training.engine != "TRL" or holds(spec),
    )


def _no_checkpoints(no_wish: "Checkpoints") -> Rule:
    """Checkpoints of Transformers' trainer are pickles, which are not written here."""
    return _refuse(
        f"self.checkpoints.everyMinutes == {no_wish.every_minutes}"
        f" && self.checkpoints.keep == {no_wish.keep}"
        " && !has(self.checkpoints.everySteps) && !has(self.checkpoints.best)",
        "saves no checkpoints, so that an interrupted run starts again: remove checkpoints",
        lambda spec: spec.checkpoints == no_wish,
    )


_OF_TRAINING = (
    _refuse(
        f"self.method in {list(METHODS)}",
        f"trains {', '.join(METHODS)} only: write Native",
        lambda spec: spec.method in METHODS,
    ),
    _refuse(
        "!self.training.packing",
        "pads rows and does not pack them: write packing: false",
        lambda spec: not spec.training.packing,
    ),
    _refuse(
        "!has(self.training.evalEverySteps) && !has(self.training.earlyStopping)",
        "measures held-out rows before and after training only: remove evalEverySteps and "
        "earlyStopping",
        lambda spec: (
            spec.training.eval_every_steps is None and spec.training.early_stopping is None
        ),
    ),
    _refuse(
        "self.output.retain == 'Adapter'",
        "has no checkpoints to keep: write output.retain: Adapter",
        lambda spec: spec.output.retain == "Adapter",
    ),
    _refuse(
        "self.workers.nodes == 1 && self.workers.processesPerNode == 1",
        "runs in one process: write 1 for workers.nodes and workers.processesPerNode",
        lambda spec: (spec.workers.nodes, spec.workers.processes_per_node) == (1, 1),
    ),
)
_OF_DPO = (
    _refuse(
        "!has(self.dpo) || self.dpo.loss != 'IPO'",
        "divides IPO by the completions' lengths, which its paper does not: write another "
        "dpo.loss, or Native",
        lambda spec: spec.dpo is None or spec.dpo.loss != "IPO",
    ),
    _refuse(
        "!has(self.dpo) || double(self.dpo.labelSmoothing) == 0.0",
        'passes label smoothing over: write dpo.labelSmoothing: "0", or Native',
        lambda spec: spec.dpo is None or float(spec.dpo.label_smoothing) == 0,
    ),
    _refuse(
        "!(self.method in ['DPO', 'KTO']) || !has(self.adapter.dropout)"
        " || double(self.adapter.dropout) == 0.0",
        'trains DPO and KTO without dropout: write adapter.dropout: "0"',
        lambda spec: spec.method not in ("DPO", "KTO") or float(spec.adapter.dropout or 0) == 0,
    ),
)
_OF_GRPO = (
    _refuse(
        "!has(self.grpo) || self.grpo.iterations == 1",
        "counts each of grpo.iterations as a step of its own: write 1, or Native",
        lambda spec: spec.grpo is None or spec.grpo.iterations == 1,
    ),
    _refuse(
        "self.method != 'GRPO' || !has(self.training.microBatchTokens)",
        "reads all answers of a step in one forward pass: remove microBatchTokens, or write Native",
        lambda spec: spec.method != "GRPO" or spec.training.micro_batch_tokens is None,
    ),
)
