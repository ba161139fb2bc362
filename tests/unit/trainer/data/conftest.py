"""A byte-level tokenizer made on the fly, under chat templates as models really have them."""

from collections.abc import Callable
from typing import Any

import pytest
from finetune_trainer.data.chat import Chat
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, processors, trainers
from transformers import PreTrainedTokenizerFast

SPECIAL = ["<s>", "</s>", "<|im_start|>", "<|im_end|>"]

MARKED = """\
{{- bos_token }}{% for message in messages %}\
{{- '<|im_start|>' + message['role'] + '\\n' }}\
{% if message['role'] == 'assistant' %}\
{% generation %}{{ message['content'] }}{% endgeneration %}\
{% else %}{{ message['content'] }}{% endif %}\
{{- '<|im_end|>\\n' }}{% endfor %}\
{% if add_generation_prompt %}{{ '<|im_start|>assistant\\n' }}{% endif %}"""
"""ChatML with generation marks that leave the end of turn out."""

CHATML = MARKED.replace("{% generation %}", "").replace("{% endgeneration %}", "")
"""ChatML as most models have it: without marks."""

INST = """\
{{- bos_token }}{% for message in messages %}\
{% if (message['role'] == 'user') != (loop.index0 % 2 == 0) %}\
{{ raise_exception('Roles must alternate user/assistant') }}{% endif %}\
{% if message['role'] == 'user' %}{{ '[INST] ' + message['content'] + ' [/INST]' }}\
{% else %}{{ ' ' + message['content'] + eos_token }}{% endif %}{% endfor %}"""
"""Mistral's way: no generation prompt, roles alternate."""

THINKING = """\
{% for message in messages %}\
{% if message['role'] == 'assistant' and loop.last %}\
{{ '<|im_start|>assistant\\n<think>\\n\\n</think>\\n\\n' + message['content'] + '<|im_end|>\\n' }}\
{% else %}{{ '<|im_start|>' + message['role'] + '\\n' + message['content'] + '<|im_end|>\\n' }}\
{% endif %}{% endfor %}\
{% if add_generation_prompt %}{{ '<|im_start|>assistant\\n' }}{% endif %}"""
"""Qwen3's way: the last answer is rendered in another way than earlier ones."""

ROLLING = """\
{{ messages | length }}{% for message in messages %}\
{{ message['role'] + ': ' + message['content'] + '</s>' }}{% endfor %}"""
"""What comes first depends on what follows: no prefix can be verified."""


def make_tokenizer(template: str | None, *, trim: bool = True, **special: str) -> Any:
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    tokenizer.train_from_iterator(
        ["user assistant system What is the answer? The answer is short."] * 3,
        trainers.BpeTrainer(
            vocab_size=400,
            special_tokens=SPECIAL,
            initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
            show_progress=False,
        ),
    )
    tokenizer.post_processor = processors.ByteLevel(trim_offsets=trim)
    names = {"bos_token": "<s>", "eos_token": "</s>", **special}
    wrapped = PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        additional_special_tokens=["<|im_start|>", "<|im_end|>"],
        clean_up_tokenization_spaces=False,
        **names,
    )
    wrapped.chat_template = template
    return wrapped


ChatMaker = Callable[..., Chat]


@pytest.fixture
def make_chat() -> ChatMaker:
    """Make a Chat of a template and special tokens."""

    def make(template: str | None, **options: Any) -> Chat:
        return Chat(make_tokenizer(template, **options))

    return make
