"""Models that share what no one trains."""

from pathlib import Path
from typing import Any

import pytest
import torch
from finetune_api.spec import Adapter, AdapterType, Method, Precision, Training
from finetune_trainer.engine.model import Head, ModelSettings, load_model
from finetune_trainer.engine.twins import frozen_twin, share_equal_weights
from transformers import AutoModelForSequenceClassification

from tests.unit.trainer.engine_support import make_model

CPU = torch.device("cpu")
IDS = torch.arange(4, 20)[None]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_model(tmp_path_factory.mktemp("model"))


def loaded(folder: Path, adapter: Adapter, method: Method = Method.SFT) -> Any:
    training = Training(precision=Precision.FP32, gradient_checkpointing=True)
    return load_model(folder, ModelSettings.of(adapter, training, method), CPU)


def logits(model: Any) -> torch.Tensor:
    with torch.no_grad():
        found: torch.Tensor = model.eval()(input_ids=IDS).logits
    return found


@pytest.mark.parametrize("kind", [AdapterType.LORA, AdapterType.DORA, AdapterType.NONE])
def test_a_frozen_twin_stays_what_the_model_was(folder: Path, kind: AdapterType) -> None:
    adapter = Adapter(type=kind) if kind is AdapterType.NONE else Adapter(type=kind, rank=2)
    model = loaded(folder, adapter)
    before = logits(model)
    twin = frozen_twin(model)
    shared = {p.data_ptr() for p in model.parameters() if not p.requires_grad}
    mine = [p.data_ptr() for p in twin.parameters()]
    assert shared == {place for place in mine if place in shared}
    assert not any(p.requires_grad for p in twin.parameters())

    optimizer = torch.optim.AdamW([p for p in model.parameters() if p.requires_grad], lr=0.1)
    for _ in range(2):
        # Logits of the twin between forward and backward: each has its own activations.
        loss = model.train()(input_ids=IDS, labels=IDS).loss
        logits(twin)
        loss.backward()
        optimizer.step()

    torch.testing.assert_close(logits(twin), before, atol=0, rtol=0)
    assert (logits(model) - before).abs().max() > 1e-3


def test_a_reward_model_shares_what_it_has_in_common_with_the_policy(folder: Path) -> None:
    policy = loaded(folder, Adapter(rank=2))
    judge = loaded(folder, Adapter(rank=4), Method.REWARD)
    before = logits(judge)
    frozen = [p for p in judge.parameters() if not p.requires_grad]
    size = sum(p.numel() * p.element_size() for p in frozen)

    saved = share_equal_weights(judge, policy)

    theirs = {p.data_ptr() for p in policy.parameters()}
    alike = [p for p in frozen if p.data_ptr() in theirs]
    assert saved == sum(p.numel() * p.element_size() for p in alike)
    assert 0.99 < saved / size <= 1, "all but the untrained copy of the head"
    torch.testing.assert_close(logits(judge), before, atol=0, rtol=0)


def test_weights_that_differ_are_not_shared(folder: Path) -> None:
    policy = loaded(folder, Adapter(rank=2))
    judge = AutoModelForSequenceClassification.from_pretrained(folder, num_labels=1)
    judge.requires_grad_(requires_grad=False)
    for parameter in judge.model.layers[0].parameters():
        parameter.data += 0.5
    share_equal_weights(judge, policy)
    theirs = {p.data_ptr() for p in policy.parameters()}
    assert not any(p.data_ptr() in theirs for p in judge.model.layers[0].parameters())
    assert all(p.data_ptr() in theirs for p in judge.model.layers[1].parameters())


def test_the_head_of_a_reward_model_is_read_from_the_settings() -> None:
    assert Head.of(Method.REWARD) is Head.REWARD
