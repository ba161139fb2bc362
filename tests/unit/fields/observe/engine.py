"""What a process computes in training, on the model and data that the stages set up."""

import math
from typing import Any

import torch
from finetune_api.errors import UserError
from finetune_api.spec import FineTuneJobSpec
from finetune_trainer.engine.model import trainable
from finetune_trainer.methods.scorer import base_of
from finetune_trainer.progress import REWARD
from finetune_trainer.rewards.functions import Answered, score_of
from finetune_trainer.stages.train import Training

from tests.unit.fields.bench import Bench
from tests.unit.fields.observe.run import begin


def units_read(bench: Bench, spec: FineTuneJobSpec) -> object:
    """Numbers of the units that each step reads."""
    plan = begin(bench, spec).engine.rows.plan
    return [plan.units_of(step).tolist() for step in range(plan.total_steps)]


def rates(bench: Bench, spec: FineTuneJobSpec) -> object:
    """Learning rate of each step."""
    engine = begin(bench, spec).engine
    return [engine.run_step().learning_rate for _ in range(engine.rows.plan.total_steps)]


def losses(bench: Bench, spec: FineTuneJobSpec) -> object:
    """Loss of each step: of all before the last one changed the weights."""
    engine = begin(bench, spec).engine
    return [engine.run_step().loss for _ in range(engine.rows.plan.total_steps)]


def rewards(bench: Bench, spec: FineTuneJobSpec) -> object:
    """Mean reward of the answers of each step."""
    engine = begin(bench, spec).engine
    return [engine.run_step().means[REWARD] for _ in range(engine.rows.plan.total_steps)]


def scores(_bench: Bench, spec: FineTuneJobSpec) -> object:
    """What the first reward function gives answers of different kinds."""
    assert spec.grpo is not None
    assert spec.grpo.reward_functions is not None
    score = score_of(spec.grpo.reward_functions[0])
    answers = (("7", 1), ("8", 1), ("it is 7", 4), ("no", 9))
    return [score(Answered(text, tokens, "7")) for text, tokens in answers]


def first_weights(bench: Bench, spec: FineTuneJobSpec) -> object:
    """What trains, as it is before the first step."""
    model = begin(bench, spec).engine.model
    return {name: tensor.detach().tolist() for name, tensor in trainable(model)}


def trained_shapes(bench: Bench, spec: FineTuneJobSpec) -> object:
    """Names and shapes of what trains."""
    model = begin(bench, spec).engine.model
    return {name: tuple(tensor.shape) for name, tensor in trainable(model)}


def forward_passes(bench: Bench, spec: FineTuneJobSpec) -> object:
    """What goes through the first layer in one step: (rows, tokens of each) of every pass."""
    return [tuple(output.shape[:2]) for output in _outputs_of_a_step(begin(bench, spec))]


def computed_types(bench: Bench, spec: FineTuneJobSpec) -> object:
    """Types of what the first layer computes."""
    return {output.dtype for output in _outputs_of_a_step(begin(bench, spec))}


def steps_until_given_up(bench: Bench, spec: FineTuneJobSpec) -> object:
    """Steps of a model that computes nothing finite, until the run ends as diverged."""
    training = begin(bench, spec)
    for _, parameter in trainable(training.engine.model):
        parameter.data.fill_(math.nan)
    try:
        training.run_to_end()
    except UserError:
        return training.engine.step
    raise AssertionError("a run of NaN came to its end")


def _outputs_of_a_step(training: Training) -> list[torch.Tensor]:
    """Outputs of the first projection of the first layer, recomputed ones too."""
    outputs: list[torch.Tensor] = []

    def keep(_module: Any, _inputs: Any, output: torch.Tensor) -> None:
        outputs.append(output.detach())

    layer = base_of(training.engine.model).model.layers[0]
    handle = layer.self_attn.q_proj.register_forward_hook(keep)
    training.engine.run_step()
    handle.remove()
    return outputs
