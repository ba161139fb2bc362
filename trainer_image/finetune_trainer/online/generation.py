"""Answers that the model in training writes itself, with Transformers' `generate`."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from finetune_api.spec import Precision
from transformers import GenerationConfig, StoppingCriteria, StoppingCriteriaList

from finetune_trainer.arrays import Int32
from finetune_trainer.engine.distributed import Comm
from finetune_trainer.engine.model import computing
from finetune_trainer.methods.scorer import base_of

_ROOM = 8
"""Tokens of a generating batch for each that a training pass may hold: without gradients a token
needs its keys and values alone."""


@dataclass(frozen=True)
class Sampling:
    """How answers are drawn."""

    max_new_tokens: int
    temperature: float | None
    """None: the likeliest token each time."""
    top_p: float
    eos_ids: tuple[int, ...]
    """Tokens that end an answer, which they belong to."""
    pad_id: int

    def config(self) -> GenerationConfig:
        """The same for Transformers, with nothing left to a model's own settings."""
        drawn: dict[str, Any] = {"do_sample": False}
        if self.temperature is not None:
            drawn = {
                "do_sample": True,
                "temperature": self.temperature,
                "top_p": self.top_p,
                "top_k": 0,
            }
        return GenerationConfig(
            max_new_tokens=self.max_new_tokens,
            eos_token_id=list(self.eos_ids),
            pad_token_id=self.pad_id,
            repetition_penalty=1.0,
            use_cache=True,
            **drawn,
        )

    def cut(self, tokens: list[int]) -> list[int]:
        """`tokens` up to the first that ends an answer."""
        for index, token in enumerate(tokens):
            if token in self.eos_ids:
                return tokens[: index + 1]
        return tokens


def write_answers(
    model: Any,
    prompts: Sequence[Int32],
    sampling: Sampling,
    *,
    comm: Comm,
    precision: Precision,
    micro_batch_tokens: int,
) -> list[list[int]]:
    """An answer to each of `prompts`, drawn from torch's generator.

    Ends early, with answers that are short, when any rank was asked to stop; ask
    `comm.agree_to_stop` afterwards.
    """
    model.eval()
    answers: list[list[int]] = [[] for _ in prompts]
    for chosen in _batches([len(p) for p in prompts], sampling.max_new_tokens, micro_batch_tokens):
        if comm.stop_is_known():
            break
        batch = [prompts[index] for index in chosen]
        for index, answer in zip(
            chosen, _write(model, batch, sampling, comm, precision), strict=True
        ):
            answers[index] = answer
    return answers


def _batches(lengths: Sequence[int], new: int, micro_batch_tokens: int) -> Iterator[list[int]]:
    """Prompts of like length together, from the longest."""
    order = sorted(range(len(lengths)), key=lambda index: (-lengths[index], index))
    while order:
        size = max(1, _ROOM * micro_batch_tokens // (lengths[order[0]] + new))
        yield order[:size]
        order = order[size:]


def _write(
    model: Any, prompts: Sequence[Int32], sampling: Sampling, comm: Comm, precision: Precision
) -> list[list[int]]:
    width = max(len(prompt) for prompt in prompts)
    ids = np.full((len(prompts), width), sampling.pad_id, np.int64)
    mask = np.zeros_like(ids)
    for line, prompt in enumerate(prompts):
        ids[line, width - len(prompt) :] = prompt
        mask[line, width - len(prompt) :] = 1
    with torch.no_grad(), computing(precision, comm.device), _without_wishes(model):
        output = model.generate(
            input_ids=torch.from_numpy(ids).to(comm.device),
            attention_mask=torch.from_numpy(mask).to(comm.device),
            generation_config=sampling.config(),
            stopping_criteria=StoppingCriteriaList([StopWhenAsked(comm)]),
        )
    return [sampling.cut(line) for line in output[:, width:].tolist()]


@contextmanager
def _without_wishes(model: Any) -> Iterator[None]:
    """Transformers fills what a configuration leaves open from the model's own: lengths, tokens
    that must not come, and other processing of logits that no update would know of."""
    base = base_of(model)
    before = base.generation_config
    base.generation_config = GenerationConfig()
    try:
        yield
    finally:
        base.generation_config = before


class StopWhenAsked(StoppingCriteria):  # type: ignore[misc]
    """Ends generation when the run was asked to stop."""

    def __init__(self, comm: Comm) -> None:
        self._comm = comm

    def __call__(self, input_ids: torch.Tensor, *_: Any, **__: Any) -> torch.Tensor:
        self._comm.pulse.beat()
        stop = self._comm.stop_is_known()
        return torch.full((len(input_ids),), stop, device=input_ids.device)
