"""Models that the losses are computed with."""

from collections.abc import Iterator

import pytest
import torch
from transformers import AutoModelForCausalLM

from tests.unit.trainer.engine_support import make_model
from tests.unit.trainer.methods.support import Models


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Models]:
    """A reference, and a policy that has moved away from it."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    folder = make_model(tmp_path_factory.mktemp("model"))
    policy, reference = (
        AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32) for _ in range(2)
    )
    torch.manual_seed(1)
    for parameter in policy.parameters():
        parameter.data += 0.02 * torch.randn_like(parameter)
    yield Models(folder, policy, reference)
    torch.set_num_threads(threads)
