"""Cross entropy of the label tokens: supervised fine-tuning, and continued pre-training, whose
labels are all tokens of a document but its first."""

from finetune_trainer.engine.batches import MicroBatch
from finetune_trainer.methods.objective import Counts, Objective, Sums, minimise
from finetune_trainer.methods.scorer import LabelScorer

CROSS_ENTROPY = "crossEntropy"


def _sums(scorer: LabelScorer, batch: MicroBatch) -> Sums:
    """Sum of -log p(token | tokens before it in its row) over the label tokens, in nats."""
    return {CROSS_ENTROPY: scorer.cross_entropy(batch)}


def _counts(batch: MicroBatch) -> Counts:
    return {CROSS_ENTROPY: batch.labels}


OBJECTIVE = Objective(_sums, _counts, minimise(CROSS_ENTROPY))
