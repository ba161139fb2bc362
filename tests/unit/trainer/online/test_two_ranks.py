"""Two ranks that learn from the same answers do what one does."""

from pathlib import Path

import pytest
import torch
from finetune_trainer.engine.distributed import Comm
from safetensors.torch import load_file

from tests.unit.trainer.online.two_ranks import METHODS, train, train_on_two_ranks


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    made = tmp_path_factory.mktemp("ranks")
    train_on_two_ranks(made)
    return made


@pytest.mark.parametrize("name", METHODS)
def test_updates_from_recorded_answers_are_those_of_one_process(folder: Path, name: str) -> None:
    alone, two = train(Comm.alone(), name), load_file(folder / f"{name}.safetensors")
    assert two.keys() == alone.keys()
    for key, tensor in alone.items():
        torch.testing.assert_close(two[key], tensor, atol=1e-5, rtol=0, msg=key)
