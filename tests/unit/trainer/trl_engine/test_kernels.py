"""TRL's kernels are compiled at run time, in an image that has no compiler."""

import shutil

import pytest
import torch
from finetune_trainer.trl_engine.kernels import compile_only_where_possible
from trl.kernels import chunked_logprob

CUDA = torch.device("cuda")


@pytest.mark.parametrize("compiler", ["/usr/bin/gcc", None])
def test_triton_is_left_alone_where_it_finds_a_compiler_and_passed_over_elsewhere(
    monkeypatch: pytest.MonkeyPatch, compiler: str | None
) -> None:
    monkeypatch.setattr(chunked_logprob, "_TRITON_AVAILABLE", True)
    monkeypatch.delenv("CC", raising=False)
    monkeypatch.setattr(shutil, "which", lambda _name: compiler)
    compile_only_where_possible()
    assert chunked_logprob._use_triton(CUDA) is (compiler is not None)
