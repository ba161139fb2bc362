"""Defaults that depend on other fields."""

from typing import Any

import pytest
from finetune_api.errors import UserError
from finetune_api.resolve import effective, resolve, settle
from finetune_api.spec import (
    Adapter,
    AdapterFrom,
    AdapterType,
    FineTuneJobSpec,
    LossOn,
    MixingStop,
    hub_name,
)

from tests.unit.api.jobs import job


def settled(spec: FineTuneJobSpec, *, starts_from_adapter: bool = False) -> Adapter:
    """The adapter of a resolved spec."""
    return settle(spec.adapter, starts_from_adapter=starts_from_adapter, method=spec.method)


@pytest.mark.parametrize(
    "spec",
    [
        {},
        {"adapter": {"type": "None"}},
        {"training": {"maxSteps": 7}},
        {"method": "DPO"},
        {"data": {"train": [{"uri": "s3://d/a"}], "mixing": "Interleave"}},
        {"adapter": {"rank": 8, "alpha": 8, "dropout": "0", "targetModules": ["q_proj"]}},
    ],
)
def test_resolving_twice_gives_the_same(spec: dict[str, Any]) -> None:
    once = resolve(job(**spec).spec)
    assert resolve(once) == once


@pytest.mark.parametrize(
    ("spec", "share", "longest"),
    [
        ({}, "0.05", 256),
        ({"method": "CPT"}, None, 256),
        ({"method": "Reward"}, "0.05", None),
        ({"evaluation": {"enabled": False}}, "0.05", None),
    ],
)
def test_limits_are_filled_in_where_they_limit_something(
    spec: dict[str, Any], share: str | None, longest: int | None
) -> None:
    resolved = resolve(job(**spec).spec)
    assert resolved.data.checks.max_too_long_share == share
    assert resolved.evaluation.max_new_tokens == longest
    assert job(**resolved.to_wire()).spec == resolved


def test_lora_gets_its_usual_settings_once_the_start_is_a_full_model() -> None:
    spec = resolve(job().spec)
    assert spec.adapter.to_wire() == {"dropout": "0.05"}
    adapter = settled(spec)
    assert (adapter.type, adapter.from_) == (AdapterType.LORA, AdapterFrom.NEW)
    assert (adapter.rank, adapter.alpha, adapter.target_modules) == (16, 32, ["all-linear"])
    assert settled(spec.model_copy(update={"adapter": adapter})) == adapter
    assert spec.training.learning_rate == "2e-4"
    assert spec.training.epochs == "1"


def test_an_adapter_that_is_continued_keeps_its_own_shape() -> None:
    absent = settled(resolve(job().spec), starts_from_adapter=True)
    written = resolve(job(adapter={"from": "Continue", "rank": 8, "dropout": "0"}).spec)
    assert absent.to_wire() == {"from": "Continue", "dropout": "0.05"}
    assert settled(written, starts_from_adapter=True).to_wire() == {
        "from": "Continue",
        "dropout": "0",
    }


def test_a_merged_start_gets_a_new_adapter() -> None:
    spec = resolve(job(adapter={"from": "Merge", "type": "DoRA"}).spec)
    adapter = settled(spec, starts_from_adapter=True)
    assert (adapter.type, adapter.from_, adapter.rank) == (AdapterType.DORA, AdapterFrom.MERGE, 16)


@pytest.mark.parametrize(
    ("adapter", "starts_from_adapter", "told"),
    [
        ({"from": "New"}, True, "write Continue to train it further, or Merge"),
        ({"from": "Continue"}, False, "no adapter to Continue: remove from"),
        ({"from": "Merge"}, False, "no adapter to Merge: remove from"),
        ({"type": "None"}, True, "write Merge to merge it into its base first"),
    ],
)
def test_from_must_go_with_the_start_model(
    adapter: dict[str, Any], starts_from_adapter: bool, told: str
) -> None:
    with pytest.raises(UserError) as caught:
        settled(resolve(job(adapter=adapter).spec), starts_from_adapter=starts_from_adapter)
    assert caught.value.where == "spec.adapter.from"
    assert told in caught.value.message


@pytest.mark.parametrize(
    ("uri", "name"),
    [
        ("hf://org/name@abc", "org/name"),
        ("hf://org/name", "org/name"),
        ("s3://bucket/org/name", None),
    ],
)
def test_only_a_model_of_the_hub_has_a_name_there(uri: str, name: str | None) -> None:
    assert hub_name(uri) == name


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
    assert spec.adapter.to_wire() == adapter
    assert (spec.training.epochs, spec.training.learning_rate) == ("2.5", "1e-5")


def test_only_supervised_rows_have_a_choice_of_what_is_learnt() -> None:
    assert resolve(job().spec).training.loss_on is LossOn.COMPLETION
    assert resolve(job(method="DPO").spec).training.loss_on is None


def test_interleaved_sources_weigh_the_same_and_end_with_the_first() -> None:
    train = [{"uri": "s3://d/a"}, {"uri": "s3://d/b", "weight": "3"}]
    data = resolve(job(data={"train": train, "mixing": "Interleave"}).spec).data
    assert [source.weight for source in data.train] == ["1", "3"]
    assert data.mixing_stop is MixingStop.FIRST_EXHAUSTED
    concat = resolve(job().spec).data
    assert (concat.train, concat.mixing_stop) == (job().spec.data.train, None)


def test_status_shows_the_resolved_settings() -> None:
    spec = resolve(job().spec)
    shown = effective(spec)
    assert (shown.adapter, shown.training) == (spec.adapter, spec.training)
    assert shown.strategy == "DDP"
