"""Log-probabilities in chunks are those of all logits at once, gradients included."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from finetune_trainer.engine.batches import make_batch
from finetune_trainer.methods import chunked
from finetune_trainer.methods.chunked import chunked_cross_entropy, chunked_logprobs
from finetune_trainer.methods.scorer import LabelScorer
from torch.nn import functional
from transformers import AutoModelForCausalLM

from tests.unit.trainer.engine_support import make_model, make_split, mixed_lengths

SPLIT = make_split(mixed_lengths(6))
LABELS, HIDDEN, VOCABULARY = 37, 16, 50


@pytest.fixture(autouse=True)
def _small_chunks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(chunked, "CHUNK_LOGITS", 8 * VOCABULARY)


@pytest.fixture
def factors() -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    torch.manual_seed(0)
    hidden = torch.randn(LABELS, HIDDEN, requires_grad=True)
    weight = torch.randn(VOCABULARY, HIDDEN, requires_grad=True)
    return hidden, weight, torch.randint(0, VOCABULARY, (LABELS,))


def gradients(loss: torch.Tensor, *tensors: torch.Tensor) -> list[torch.Tensor]:
    return list(torch.autograd.grad(loss, tensors, retain_graph=True))


@pytest.mark.parametrize("mixed", [False, True])
def test_chunks_give_the_loss_and_gradients_of_full_logits(
    factors: tuple[torch.Tensor, torch.Tensor, torch.Tensor], mixed: bool
) -> None:
    hidden, weight, targets = factors
    slopes = torch.linspace(-2, 1, LABELS)
    tolerance: dict[str, Any] = {"atol": 0.1, "rtol": 0.05} if mixed else {"atol": 1e-5, "rtol": 0}
    with torch.autocast("cpu", torch.bfloat16, enabled=mixed):
        logits = functional.linear(hidden, weight).float()
        expected = functional.cross_entropy(logits, targets, reduction="sum")
        found = chunked_cross_entropy(hidden, weight, targets)
        each = -functional.cross_entropy(logits, targets, reduction="none")
        each_found = chunked_logprobs(hidden, weight, targets)
    torch.testing.assert_close(found, expected, **tolerance)
    torch.testing.assert_close(each_found, each, **tolerance)
    for one, other in ((3 * found, 3 * expected), (slopes @ each_found, slopes @ each)):
        for left, right in zip(
            gradients(one, hidden, weight), gradients(other, hidden, weight), strict=True
        ):
            torch.testing.assert_close(left, right, **tolerance)


def test_a_frozen_head_costs_no_weight_gradient(
    factors: tuple[torch.Tensor, torch.Tensor, torch.Tensor], monkeypatch: pytest.MonkeyPatch
) -> None:
    hidden, weight, targets = factors
    products = []
    multiply = torch.mm

    def counted(one: torch.Tensor, other: torch.Tensor) -> torch.Tensor:
        products.append(other.shape)
        return multiply(one, other)

    monkeypatch.setattr(torch, "mm", counted)
    torch.autograd.backward(chunked_cross_entropy(hidden, weight.detach(), targets))
    chunks = -(-LABELS // 8)
    assert len(products) == 2 * chunks, "logits and the gradient of the hidden states alone"
    assert hidden.grad is not None


def test_no_label_at_all_gives_zero_that_reaches_the_factors(
    factors: tuple[torch.Tensor, torch.Tensor, torch.Tensor],
) -> None:
    hidden, weight, targets = factors
    for total in (
        chunked_cross_entropy(hidden[:0], weight, targets[:0]),
        chunked_logprobs(hidden[:0], weight, targets[:0]).sum(),
    ):
        assert float(total.detach()) == 0
        assert all(not g.any() for g in gradients(total, hidden, weight))


@pytest.mark.parametrize("packing", [True, False])
def test_a_large_vocabulary_takes_the_chunked_way_to_the_same_scores(
    tmp_path: Path, packing: bool
) -> None:
    model = AutoModelForCausalLM.from_pretrained(make_model(tmp_path), dtype=torch.float32)
    batch = make_batch(SPLIT, np.arange(6), [0, 1, 2, 3, 4, 5], packing=packing)
    full, small = LabelScorer(model), LabelScorer(model, full_logits=0)
    calls = []
    model.get_output_embeddings().register_forward_hook(lambda *_: calls.append(1))
    torch.testing.assert_close(small.logprobs(batch), full.logprobs(batch), atol=1e-5, rtol=0)
    torch.testing.assert_close(
        small.cross_entropy(batch), full.cross_entropy(batch), atol=1e-4, rtol=0
    )
    assert len(calls) == 4, "twice in full, and twice in the probe: never in the chunked way"


def test_a_model_that_changes_its_logits_after_the_head_is_never_scored_in_chunks(
    tmp_path: Path,
) -> None:
    model = AutoModelForCausalLM.from_pretrained(make_model(tmp_path), dtype=torch.float32)
    plain = model.forward

    def capped(*args: Any, **kwargs: Any) -> Any:
        output = plain(*args, **kwargs)
        output.logits = 5 * torch.tanh(output.logits / 5)
        return output

    model.forward = capped
    batch = make_batch(SPLIT, np.arange(6), [0, 1, 2], packing=False)
    full, small = LabelScorer(model), LabelScorer(model, full_logits=0)
    torch.testing.assert_close(small.logprobs(batch), full.logprobs(batch))
