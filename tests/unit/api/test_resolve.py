"""Defaults that depend on other fields."""

from typing import Any

import pytest
from finetune_api.resolve import effective, resolve

from tests.unit.api.jobs import job


@pytest.mark.parametrize(
    "spec",
    [
        {},
        {"adapter": {"type": "None"}},
        {"training": {"maxSteps": 7}},
        {"adapter": {"rank": 8, "alpha": 8, "dropout": "0", "targetModules": ["q_proj"]}},
    ],
)
def test_resolving_twice_gives_the_same(spec: dict[str, Any]) -> None:
    once = resolve(job(**spec).spec)
    assert resolve(once) == once


def test_lora_gets_its_usual_settings() -> None:
    spec = resolve(job().spec)
    adapter = spec.adapter
    assert (adapter.rank, adapter.alpha, adapter.dropout) == (16, 32, "0.05")
    assert adapter.target_modules == ["all-linear"]
    assert spec.training.learning_rate == "2e-4"
    assert spec.training.epochs == "1"
    assert spec.model.id == "s3://models/llama"


@pytest.mark.parametrize(
    ("model", "name"),
    [
        ({"uri": "hf://org/name@abc"}, "org/name"),
        ({"uri": "hf://org/name"}, "org/name"),
        ({"uri": "hf://org/name@abc", "id": "ours/name"}, "ours/name"),
    ],
)
def test_a_model_of_the_hub_has_the_name_that_the_hub_knows(
    model: dict[str, Any], name: str
) -> None:
    spec = resolve(job(model=model).spec)
    assert spec.model.id == name
    assert resolve(spec) == spec


def test_full_weights_get_a_smaller_learning_rate_and_no_rank() -> None:
    spec = resolve(job(adapter={"type": "None"}).spec)
    assert spec.training.learning_rate == "2e-5"
    assert spec.adapter.rank is None


def test_max_steps_take_the_place_of_epochs() -> None:
    training = resolve(job(training={"maxSteps": 7}).spec).training
    assert (training.epochs, training.max_steps) == (None, 7)


def test_what_the_user_wrote_stays() -> None:
    adapter = {"rank": 4, "alpha": 4, "dropout": "0", "targetModules": ["q_proj"]}
    made = job(adapter=adapter, training={"epochs": "2.5", "learningRate": "1e-5"})
    spec = resolve(made.spec)
    assert spec.adapter.to_wire() == {"type": "LoRA", **adapter}
    assert (spec.training.epochs, spec.training.learning_rate) == ("2.5", "1e-5")


def test_status_shows_the_resolved_settings() -> None:
    spec = resolve(job().spec)
    shown = effective(spec)
    assert (shown.adapter, shown.training) == (spec.adapter, spec.training)
    assert shown.strategy == "DDP"
