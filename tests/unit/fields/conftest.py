"""One bench for all fields of a worker."""

from collections.abc import Iterator

import pytest
import torch

from tests.unit.fields.bench import Bench


@pytest.fixture(scope="session")
def shared_bench(tmp_path_factory: pytest.TempPathFactory) -> Bench:
    return Bench.make(tmp_path_factory.mktemp("bench"))


@pytest.fixture
def bench(shared_bench: Bench) -> Iterator[Bench]:
    """The bench, with its sums in one order: on one thread."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield shared_bench
    torch.set_num_threads(before)
