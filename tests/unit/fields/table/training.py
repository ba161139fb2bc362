"""training, evaluation and checkpoints."""

from tests.unit.fields.bench import SHARED
from tests.unit.fields.entry import Table, effect
from tests.unit.fields.observe.engine import (
    computed_types,
    first_weights,
    forward_passes,
    losses,
    rates,
    steps_until_given_up,
    units_read,
)
from tests.unit.fields.observe.prepare import held_out_rows, train_rows
from tests.unit.fields.observe.stages import (
    answer,
    best_step,
    checkpoints,
    evaluated_steps,
    first_checkpoint,
    last_step,
    measured,
    passes_of_trl,
)

ANY_LENGTH = {"train": [{"uri": f"{SHARED}/questions.jsonl"}], "checks": {"maxTooLongShare": "1"}}
CHATS = {"train": [{"uri": f"{SHARED}/chats.jsonl", "format": "Messages"}]}
PAIRS = {"train": [{"uri": f"{SHARED}/pairs.jsonl"}]}
GAINS_NOTHING = {"evalEverySteps": 1, "learningRate": "1e-30", "maxSteps": 6}

TRAINING: Table = {
    "training.epochs": effect(("1", "1.5"), units_read, training={"maxSteps": None}),
    "training.maxSteps": effect((2, 5), units_read),
    "training.globalBatchSize": effect((4, 16), units_read),
    "training.microBatchTokens": effect((64, 128), forward_passes),
    "training.sequenceLength": effect((24, 96), train_rows, data=ANY_LENGTH),
    "training.lossOn": effect(("Completion", "LastTurn", "All"), train_rows, data=CHATS),
    "training.packing": effect((True, False), forward_passes),
    "training.learningRate": effect(("1e-3", "1e-2"), rates, losses),
    "training.scheduler": effect(("Cosine", "Linear", "Constant"), rates),
    "training.warmupRatio": effect(("0", "0.5"), rates),
    "training.minLearningRateRatio": effect(("0", "0.5"), rates),
    "training.weightDecay": effect(("0", "0.5"), losses),
    "training.maxGradNorm": effect(("0.01", "1000"), losses),
    "training.precision": effect(("BF16", "FP32"), computed_types, losses),
    "training.gradientCheckpointing": effect((True, False), forward_passes),
    "training.evalEverySteps": effect((1, 2), evaluated_steps),
    "training.earlyStopping.patience": effect((1, 3), last_step, training=GAINS_NOTHING),
    "training.seed": effect((1, 2), held_out_rows, units_read, first_weights),
    "training.maxSkippedSteps": effect((0, 1), steps_until_given_up),
    "training.engine": effect(("Native", "TRL"), passes_of_trl, training={"packing": False}),
}
EVALUATION: Table = {
    "evaluation.enabled": effect((True, False), measured),
    "evaluation.maxNewTokens": effect((2, 8), answer, evaluation={"enabled": True}),
}
CHECKPOINTS: Table = {
    "checkpoints.everyMinutes": effect((1, 2), first_checkpoint, training={"maxSteps": 6}),
    "checkpoints.everySteps": effect((1, 2), checkpoints),
    "checkpoints.keep": effect(
        (1, 2), checkpoints, checkpoints={"everySteps": 1}, training={"maxSteps": 4}
    ),
    "checkpoints.best.metric": effect(
        ("Loss", "PreferenceAccuracy"),
        best_step,
        method="DPO",
        data=PAIRS,
        training={"evalEverySteps": 1},
    ),
}
