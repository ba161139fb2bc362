"""A model that cannot be trained is refused before an accelerator is taken."""

import json
from typing import Any

import pytest
from finetune_api.errors import UserError
from finetune_api.reasons import Reason

from tests.unit.trainer.prepare.conftest import CONFIG, World


def refused(world: World, **changes: Any) -> UserError:
    with pytest.raises(UserError) as caught:
        world.prepare(**changes)
    return caught.value


def configure(world: World, **changes: Any) -> None:
    (world.model / "config.json").write_text(json.dumps({**CONFIG, **changes}))


@pytest.mark.parametrize(
    ("missing", "said"),
    [
        ("config.json", "no config.json"),
        ("tokenizer.json", "no tokenizer"),
        ("model.safetensors", "safetensors"),
    ],
)
def test_a_missing_part_is_named(world: World, missing: str, said: str) -> None:
    (world.model / missing).unlink()

    error = refused(world)

    assert error.reason is Reason.MODEL_INVALID
    assert said in error.message


def test_pickled_weights_are_to_be_converted(world: World) -> None:
    (world.model / "model.safetensors").rename(world.model / "pytorch_model.bin")

    assert "convert to safetensors" in refused(world).message


def test_an_adapter_is_told_from_a_model(world: World) -> None:
    (world.model / "config.json").rename(world.model / "adapter_config.json")

    assert "adapter" in refused(world).message


@pytest.mark.parametrize("name", ["config.json", "tokenizer_config.json"])
def test_remote_code_is_refused(world: World, name: str) -> None:
    document = json.loads((world.model / name).read_text())
    (world.model / name).write_text(json.dumps({**document, "auto_map": {"AutoModel": "x.Y"}}))

    error = refused(world)

    assert error.reason is Reason.MODEL_INVALID
    assert "auto_map" in error.message


@pytest.mark.parametrize("architectures", [["BertModel"], ["OurOwn"], [], None, "x"])
def test_only_causal_language_models_are_taken(world: World, architectures: Any) -> None:
    configure(world, architectures=architectures)

    assert "causal language model" in refused(world).message


def test_a_length_beyond_the_model_names_both_numbers(world: World) -> None:
    error = refused(world, training={"sequenceLength": 4096})

    assert error.reason is Reason.INVALID_SPEC
    assert "4096" in error.message
    assert "2048" in error.message


def test_a_weight_file_that_the_index_names_must_be_there(world: World) -> None:
    index = {"weight_map": {"a": "model.safetensors", "b": "model-2.safetensors"}}
    (world.model / "model.safetensors.index.json").write_text(json.dumps(index))

    assert "the first is model-2.safetensors" in refused(world).message


def test_a_broken_tokenizer_is_an_error_of_the_model(world: World) -> None:
    (world.model / "tokenizer.json").write_text("{}")

    error = refused(world)

    assert error.reason is Reason.MODEL_INVALID
    assert "save_pretrained" in error.message


def test_a_folder_that_is_not_there_is_not_found(world: World) -> None:
    error = refused(world, model={"uri": (world.root / "nothing").as_uri()})

    assert error.reason is Reason.STORAGE_NOT_FOUND
