"""A reward model at work gives what Transformers gives, centred and scaled."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from finetune_api.spec import Adapter, Method, Precision, Training
from finetune_trainer.engine.adapters import save_adapter
from finetune_trainer.engine.distributed import Comm
from finetune_trainer.engine.model import ModelSettings, load_model
from finetune_trainer.engine.settings import StepSettings
from finetune_trainer.online.rollouts import Rollouts
from finetune_trainer.rewards.model import RewardFiles, load_critic, load_reward_model
from transformers import AutoModelForSequenceClassification

from tests.unit.trainer.engine_support import make_model, make_prompts
from tests.unit.trainer.online.online_support import sampling

CPU = torch.device("cpu")
TRAINING = Training(precision=Precision.FP32, gradient_checkpointing=False)
SETTINGS = StepSettings(0, 64, True, 1, Precision.FP32)
TAIL = [9]


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """A base, a whole reward model on it, and an adapter with a head."""
    root = tmp_path_factory.mktemp("models")
    base = make_model(root / "base")
    torch.manual_seed(1)
    whole = AutoModelForSequenceClassification.from_pretrained(base, num_labels=1)
    whole.save_pretrained(root / "whole")
    trained = load_model(base, ModelSettings.of(Adapter(rank=2), TRAINING, Method.REWARD), CPU)
    for parameter in trained.parameters():
        if parameter.requires_grad:
            parameter.data += 0.1 * torch.randn_like(parameter)
    (root / "adapter").mkdir()
    save_adapter(trained, root / "adapter")
    for name in ("whole", "adapter"):
        text = '{"mean": 0.25, "standardDeviation": 2.0, "answers": 8}'
        (root / name / "reward.json").write_text(text)
    return {"base": base, "whole": root / "whole", "adapter": root / "adapter"}


def answers() -> Rollouts:
    """Finished and cut ones, of different lengths."""
    written = [[7, 8, 2], [60], [11, 12, 13, 14, 2], [2]]
    return Rollouts.of(make_prompts(4, seed=1), np.arange(4), written, sampling())


def expected(model: Any, rollouts: Rollouts) -> list[float]:
    found = []
    for row in range(len(rollouts)):
        ids = rollouts.prompt(row) + rollouts.answer(row)
        ids += TAIL if rollouts.finished[row] else []
        with torch.no_grad():
            reward = float(model.eval()(input_ids=torch.tensor([ids])).logits)
        found.append((reward - 0.25) / 2.0)
    return found


@pytest.mark.parametrize("kind", ["whole", "adapter"])
def test_scores_are_those_of_a_plain_forward(folders: dict[str, Path], kind: str) -> None:
    policy = load_model(folders["base"], ModelSettings.of(Adapter(rank=2), TRAINING), CPU)
    if kind == "whole":
        files = RewardFiles(folders["whole"], None, TAIL)
        plain = AutoModelForSequenceClassification.from_pretrained(folders["whole"])
    else:
        files = RewardFiles(folders["base"], folders["adapter"], TAIL)
        settings = ModelSettings.of(Adapter(), TRAINING, Method.REWARD)
        plain = load_model(folders["base"], settings, CPU, folders["adapter"])
    rollouts = answers()
    assert rollouts.finished.tolist() == [True, False, True, True]

    model = load_reward_model(files, TRAINING, CPU, policy)
    judge, critic = load_critic(files, Adapter(rank=2), TRAINING, CPU, policy)

    assert not any(p.requires_grad for p in model.model.parameters())
    wanted = pytest.approx(expected(plain, rollouts), abs=1e-5)
    assert model.scores(Comm.alone(), rollouts, SETTINGS) == wanted
    assert judge.scores(Comm.alone(), rollouts, SETTINGS) == wanted
    assert not any(p.requires_grad for p in judge.model.parameters())
    assert any(p.requires_grad for p in critic.model.parameters())
    theirs = {p.data_ptr() for p in policy.parameters()}
    assert any(p.data_ptr() in theirs for p in critic.model.parameters())
