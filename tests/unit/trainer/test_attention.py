"""Attention row by row equals attention under the mask of the pack, and what is masked stays so."""

from typing import Any

import pytest
import torch
from finetune_trainer.engine import attention
from transformers import LlamaConfig, LlamaForCausalLM, MistralConfig, MistralForCausalLM

LENGTHS = [5, 1, 17, 9]
SHAPE: dict[str, Any] = {
    "vocab_size": 64,
    "hidden_size": 32,
    "intermediate_size": 32,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
}
FULL = LlamaConfig(**SHAPE)
SLIDING = MistralConfig(sliding_window=4, **SHAPE)


def pack() -> dict[str, torch.Tensor]:
    torch.manual_seed(1)
    return {
        "input_ids": torch.randint(64, (1, sum(LENGTHS))),
        "position_ids": torch.cat([torch.arange(length) for length in LENGTHS])[None],
    }


def bounds() -> torch.Tensor:
    return torch.tensor([0, *torch.tensor(LENGTHS).cumsum(0)], dtype=torch.int32)


def loss_and_gradients(model: Any, **inputs: torch.Tensor) -> tuple[torch.Tensor, list[Any]]:
    logits = model(**inputs, use_cache=False).logits
    loss = logits.square().sum()
    return logits, list(torch.autograd.grad(loss, list(model.parameters())))


def model_of(config: Any) -> Any:
    torch.manual_seed(0)
    kind = MistralForCausalLM if config.model_type == "mistral" else LlamaForCausalLM
    return kind(config).eval()


@pytest.mark.parametrize("config", [FULL, SLIDING], ids=["full", "sliding window"])
def test_outputs_and_gradients_equal_those_under_the_mask(config: Any) -> None:
    model = model_of(config)
    model.set_attn_implementation("sdpa")
    expected, expected_gradients = loss_and_gradients(model, **pack())
    model.set_attn_implementation(attention.NAME)

    logits, gradients = loss_and_gradients(model, **pack(), cu_seq_lens_q=bounds())

    torch.testing.assert_close(logits, expected)
    torch.testing.assert_close(gradients, expected_gradients)


@pytest.mark.parametrize("config", [FULL, SLIDING], ids=["full", "sliding window"])
def test_a_row_of_a_pack_is_as_if_it_were_alone(config: Any) -> None:
    model = model_of(config)
    model.set_attn_implementation(attention.NAME)
    packed = pack()
    logits = model(**packed, cu_seq_lens_q=bounds(), use_cache=False).logits

    alone = model(input_ids=packed["input_ids"][:, 6:23], use_cache=False).logits

    torch.testing.assert_close(logits[:, 6:23], alone)


def test_padded_lines_and_generation_are_as_with_sdpa() -> None:
    model = model_of(FULL)
    inputs = {"input_ids": torch.randint(64, (2, 6)), "attention_mask": torch.ones(2, 6).long()}
    inputs["attention_mask"][1, :3] = 0
    said = []
    for name in ("sdpa", attention.NAME):
        model.set_attn_implementation(name)
        said.append(model.generate(**inputs, max_new_tokens=8, do_sample=False, pad_token_id=0))

    torch.testing.assert_close(*said)
