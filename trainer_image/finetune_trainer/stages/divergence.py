"""When a run gives up because its steps are not finite."""

from finetune_api.errors import UserError
from finetune_api.reasons import Reason
from finetune_api.spec import Training


def check_divergence(training: Training, *, steps: int, skipped: int) -> None:
    """Raise UserError DIVERGED when more of the `steps` so far were skipped than the job allows."""
    limit = training.max_skipped_steps
    if skipped > limit:
        raise UserError(
            Reason.DIVERGED,
            f"the loss or a gradient was not finite in {skipped} of {steps} steps "
            f"(training.maxSkippedSteps is {limit}): lower training.learningRate, or look for "
            "broken rows",
            where=f"step {steps}",
        )
