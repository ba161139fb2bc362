"""A reward model must score, and read the very tokens that the model in training writes."""

import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from finetune_api.errors import UserError
from finetune_api.messages import PrepareMessage
from finetune_api.reasons import Reason
from finetune_api.spec import Adapter, Precision
from finetune_trainer.engine.adapters import save_adapter
from finetune_trainer.engine.model import Head, ModelSettings, load_model
from transformers import LlamaConfig, LlamaForCausalLM

from tests.unit.trainer.adapters_support import configure
from tests.unit.trainer.data.conftest import CHATML, INST, make_tokenizer
from tests.unit.trainer.prepare.conftest import CONFIG, ONE_LABEL, World, scoring_model

THREE_LABELS = {str(n): f"LABEL_{n}" for n in range(3)}


@pytest.fixture
def prompts(world: World) -> World:
    world.rows("rows.jsonl", [{"prompt": f"What is {n}?"} for n in range(40)])
    return world


@pytest.fixture(scope="module")
def adapters(tmp_path_factory: pytest.TempPathFactory) -> dict[Head, Path]:
    """Adapters of the world's model, by the head that they are trained with."""
    root = tmp_path_factory.mktemp("adapters")
    LlamaForCausalLM(LlamaConfig(**CONFIG)).save_pretrained(root / "base")
    for head in Head:
        (root / head.value).mkdir()
        wish = ModelSettings(
            Adapter(rank=4, alpha=8),
            Precision.FP32,
            gradient_checkpointing=False,
            seed=0,
            head=head,
        )
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            save_adapter(load_model(root / "base", wish, torch.device("cpu")), root / head.value)
    return {head: root / head.value for head in Head}


def on_the_world(world: World, adapter: Path) -> Path:
    """The adapter, on the model of `world`."""
    folder = world.root / "judge"
    folder.mkdir()
    for path in adapter.iterdir():
        (folder / path.name).write_bytes(path.read_bytes())
    configure(folder, base_model_name_or_path=world.model.as_uri())
    return folder


def prepare(world: World, judge: Path, method: str = "PPO") -> PrepareMessage:
    settings: dict[str, Any] = {method.lower(): {"maxNewTokens": 16}}
    return world.prepare(
        method=method,
        rewardModel={"uri": judge.as_uri()},
        training={"sequenceLength": 64},
        **settings,
    )


def refused(world: World, judge: Path) -> UserError:
    with pytest.raises(UserError) as caught:
        prepare(world, judge)
    assert caught.value.reason is Reason.MODEL_INVALID
    assert not world.reads()
    assert "\n" not in caught.value.message
    assert ". " not in caught.value.message
    return caught.value


@pytest.mark.parametrize("method", ["PPO", "GRPO"])
def test_a_model_with_one_label_or_an_adapter_with_a_head_scores(
    prompts: World, adapters: dict[Head, Path], method: str
) -> None:
    made = prepare(prompts, scoring_model(prompts, ONE_LABEL), method)
    (prompts.root / "judge").rename(prompts.root / "whole")
    other = prepare(prompts, on_the_world(prompts, adapters[Head.REWARD]), method)
    assert made.reason is other.reason is Reason.DATA_READY
    assert made.prepared is not None
    assert other.prepared is not None
    assert made.prepared.recipe_hash != other.prepared.recipe_hash


def more_words(judge: Path) -> None:
    tokenizer = make_tokenizer(CHATML)
    tokenizer.add_tokens(["extra"])
    tokenizer.save_pretrained(judge)


def other_template(judge: Path) -> None:
    make_tokenizer(INST).save_pretrained(judge)


@pytest.mark.parametrize("change", [more_words, other_template])
def test_a_reward_model_that_reads_other_texts_is_refused(
    prompts: World, change: Callable[[Path], None]
) -> None:
    judge = scoring_model(prompts, ONE_LABEL)
    change(judge)
    error = refused(prompts, judge)
    assert error.message.startswith("the reward model has another tokenizer or chat template")
    assert error.where == judge.as_uri()


def test_an_adapter_that_writes_is_no_reward_model(
    prompts: World, adapters: dict[Head, Path]
) -> None:
    judge = on_the_world(prompts, adapters[Head.TOKENS])
    error = refused(prompts, judge)
    assert error.message.startswith("is an adapter of a language model, which writes and does not")
    assert error.where == judge.as_uri()


def test_a_whole_language_model_is_no_reward_model(prompts: World) -> None:
    error = refused(prompts, prompts.model)
    assert "names no model for sequence classification" in error.message


def test_a_classifier_of_three_labels_is_no_reward_model(prompts: World) -> None:
    judge = scoring_model(prompts, THREE_LABELS)
    error = refused(prompts, judge)
    assert error.message == "a reward model gives one number, this one has other labels"
    assert error.where == f"{judge.as_uri()}/config.json"
