"""Make a small base model of the Llama architecture for the quickstart.

The model has read `data/general.txt`, plain English about everyday subjects, and nothing of the
handbook. It is far too small to be useful, yet it goes through every step that a real base goes
through, on a laptop and without a download: tokenizer, chat template, generation configuration
and weights are saved as `transformers` saves them.
"""

from __future__ import annotations

import argparse
import math
import sys
import time
from dataclasses import dataclass
from pathlib import Path

import torch
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, processors, trainers
from transformers import (
    GenerationConfig,
    LlamaConfig,
    LlamaForCausalLM,
    PreTrainedTokenizerFast,
)
from transformers.utils import logging

GENERAL_TEXT = Path(__file__).with_name("data") / "general.txt"
VOCABULARY_SIZE = 1024
CONTEXT_LENGTH = 1024
CONTROL_TOKENS = {
    "pad_token": "<pad>",
    "bos_token": "<s>",
    "eos_token": "</s>",
    "unk_token": "<unk>",
}
CHAT_MARKERS = ("<|system|>", "<|user|>", "<|assistant|>", "<|end|>")

# What lies between the generation marks is what the assistant wrote: the loss is taken there.
# The end token belongs to it, so that a tuned model learns when to stop.
CHAT_TEMPLATE = """\
{{- bos_token }}
{%- for message in messages %}
{%- if message['role'] == 'assistant' %}
{{- '<|assistant|>' }}
{%- generation %}{{- message['content'] + '<|end|>' }}{%- endgeneration %}
{%- elif message['role'] in ('system', 'user') %}
{{- '<|' + message['role'] + '|>' + message['content'] + '<|end|>' }}
{%- else %}
{{- raise_exception('The roles are system, user and assistant, not ' + message['role']) }}
{%- endif %}
{%- endfor %}
{%- if add_generation_prompt %}
{{- '<|assistant|>' }}
{%- endif %}"""


@dataclass(frozen=True)
class Schedule:
    """How the base is pre-trained."""

    steps: int
    """Optimizer steps."""
    seed: int
    """Seeds the weights and the order of the text."""
    batch: int = 8
    """Sequences in a step."""
    length: int = 128
    """Tokens in a sequence."""
    peak_rate: float = 3e-3
    """Learning rate after the warm-up; it falls to zero along a cosine."""
    warmup: int = 20
    """Steps in which the learning rate rises from zero."""

    def rate(self, step: int) -> float:
        """Learning rate of a step, counted from 0."""
        if step < self.warmup:
            return self.peak_rate * (step + 1) / self.warmup
        done = (step - self.warmup) / max(1, self.steps - self.warmup)
        return self.peak_rate * 0.5 * (1 + math.cos(math.pi * done))


def make_tokenizer(documents: list[str]) -> PreTrainedTokenizerFast:
    """Train a byte-level BPE, which can encode any text, on the documents."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=VOCABULARY_SIZE,
        special_tokens=[*CONTROL_TOKENS.values(), *CHAT_MARKERS],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator(documents, trainer)
    tokenizer.post_processor = processors.ByteLevel(trim_offsets=False)
    wrapped = PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        additional_special_tokens=list(CHAT_MARKERS),
        model_max_length=CONTEXT_LENGTH,
        clean_up_tokenization_spaces=False,
        **CONTROL_TOKENS,
    )
    wrapped.chat_template = CHAT_TEMPLATE
    return wrapped


def make_model(tokenizer: PreTrainedTokenizerFast) -> LlamaForCausalLM:
    """A Llama with random weights, about two million of them."""
    end_of_turn = tokenizer.convert_tokens_to_ids("<|end|>")
    config = LlamaConfig(
        vocab_size=len(tokenizer),
        hidden_size=192,
        intermediate_size=512,
        num_hidden_layers=4,
        num_attention_heads=6,
        num_key_value_heads=3,
        max_position_embeddings=CONTEXT_LENGTH,
        tie_word_embeddings=False,
        bos_token_id=tokenizer.bos_token_id,
        eos_token_id=tokenizer.eos_token_id,
        pad_token_id=tokenizer.pad_token_id,
    )
    model = LlamaForCausalLM(config)
    model.generation_config = GenerationConfig(
        bos_token_id=tokenizer.bos_token_id,
        eos_token_id=[tokenizer.eos_token_id, end_of_turn],
        pad_token_id=tokenizer.pad_token_id,
        do_sample=False,
    )
    return model


def token_stream(tokenizer: PreTrainedTokenizerFast, documents: list[str]) -> torch.Tensor:
    """All documents in one row of tokens, each between its begin and end token."""
    ids: list[int] = []
    for document in documents:
        text = tokenizer.encode(document, add_special_tokens=False)
        ids += [tokenizer.bos_token_id, *text, tokenizer.eos_token_id]
    return torch.tensor(ids)


def pretrain(model: LlamaForCausalLM, stream: torch.Tensor, schedule: Schedule) -> float:
    """Train on random windows of the stream; return the last step's loss in nats per token."""
    generator = torch.Generator().manual_seed(schedule.seed)
    optimizer = torch.optim.AdamW(model.parameters(), weight_decay=0.1, betas=(0.9, 0.95))
    started = time.monotonic()
    loss = math.nan
    model.train()
    for step in range(schedule.steps):
        for group in optimizer.param_groups:
            group["lr"] = schedule.rate(step)
        last = len(stream) - schedule.length
        starts = torch.randint(0, last + 1, (schedule.batch,), generator=generator)
        batch = stream[starts[:, None] + torch.arange(schedule.length)]
        output = model(input_ids=batch, labels=batch)
        output.loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)
        loss = output.loss.item()
        if step % 20 == 19 or step == schedule.steps - 1:
            seconds = time.monotonic() - started
            tell(f"step {step + 1}/{schedule.steps}  loss {loss:.3f}  {seconds:.0f} s")
    if sys.stderr.isatty():
        print(file=sys.stderr)
    return loss


def tell(line: str) -> None:
    """Show how far it is: in one line on a terminal, else line by line."""
    begin, end = ("\r", "") if sys.stderr.isatty() else ("", "\n")
    print(begin + line, end=end, file=sys.stderr, flush=True)


def parse_arguments() -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description="Make the small base model of the quickstart.")
    parser.add_argument("--output", type=Path, required=True, help="folder to write the model to")
    parser.add_argument("--seed", type=int, default=42, help="same seed, same weights (default 42)")
    parser.add_argument("--steps", type=int, default=150, help="optimizer steps (default 150)")
    return parser.parse_args()


def main() -> None:
    """Make the tokenizer and the model, pre-train it and save both in one folder."""
    arguments = parse_arguments()
    logging.disable_progress_bar()
    torch.manual_seed(arguments.seed)
    torch.use_deterministic_algorithms(True)
    # One thread adds in the same order on every machine, and so small a model gains little by two.
    torch.set_num_threads(1)
    documents = GENERAL_TEXT.read_text(encoding="utf-8").strip().split("\n\n")
    tokenizer = make_tokenizer(documents)
    model = make_model(tokenizer)
    schedule = Schedule(steps=arguments.steps, seed=arguments.seed)
    pretrain(model, token_stream(tokenizer, documents), schedule)
    arguments.output.mkdir(parents=True, exist_ok=True)
    model.eval().save_pretrained(arguments.output)
    tokenizer.save_pretrained(arguments.output)
    millions = sum(parameter.numel() for parameter in model.parameters()) / 1e6
    print(f"{arguments.output}: {millions:.1f} million parameters, {len(tokenizer)} tokens")


if __name__ == "__main__":
    main()
