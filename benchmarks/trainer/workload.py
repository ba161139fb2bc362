"""What all contestants train: a small Llama of random weights, and rows of mixed length."""

import tempfile
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from finetune_trainer.prepared import PreparedSplit
from tokenizers import Tokenizer, models, pre_tokenizers
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

VOCABULARY = 8192
LONGEST = 512
"""Tokens of a row, or of one side of a pair."""
RANK = 16


@dataclass(frozen=True)
class Workload:
    """A model folder and rows of token ids."""

    model: Path
    prompts: list[list[int]]
    """Empty ones for documents."""
    completions: list[list[int]]
    """One for each prompt; of pairs the chosen one."""
    rejected: list[list[int]]
    """Empty, or one for each prompt."""

    @property
    def label_tokens(self) -> int:
        """Tokens that are learnt in one pass over all rows."""
        return sum(map(len, self.completions + self.rejected))


def make_blocks(blocks: int, seed: int = 0) -> Workload:
    """`blocks` blocks of text of LONGEST tokens, as CPT cuts them."""
    rng = np.random.default_rng(seed)
    texts = rng.integers(4, VOCABULARY, (blocks, LONGEST)).tolist()
    return Workload(_model_folder(), [[] for _ in texts], texts, [])


def make_rows(rows: int, *, pairs: bool, seed: int = 0) -> Workload:
    """`rows` rows or pairs whose lengths are log-normal, as those of instruction data are."""
    rng = np.random.default_rng(seed)

    def ids(mean: float, most: int) -> list[int]:
        size = int(np.clip(rng.lognormal(mean, 0.8), 4, most))
        return [int(n) for n in rng.integers(4, VOCABULARY, size)]

    prompts = [ids(3.6, LONGEST // 2) for _ in range(rows)]
    completions = [ids(4.2, LONGEST // 2) for _ in range(rows)]
    rejected = [ids(4.2, LONGEST // 2) for _ in range(rows)] if pairs else []
    return Workload(_model_folder(), prompts, completions, rejected)


def split_of(work: Workload) -> PreparedSplit:
    """The same rows as the trainer reads them: one row a unit, or chosen and rejected."""
    sides = [work.completions, work.rejected] if work.rejected else [work.completions]
    rows = [(prompt, side[index]) for index, prompt in enumerate(work.prompts) for side in sides]
    lengths = [len(prompt) + len(answer) for prompt, answer in rows]
    count = len(rows)
    return PreparedSplit(
        tokens=np.concatenate([np.array(p + a, np.int32) for p, a in rows]),
        row_offsets=np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64),
        span_starts=np.array([len(prompt) for prompt, _ in rows], np.int32),
        span_ends=np.array(lengths, np.int32),
        span_offsets=np.arange(count + 1, dtype=np.int64),
        source_rows=np.arange(1, count + 1, dtype=np.int64),
        source_files=np.zeros(count, np.int32),
        group_ids=np.arange(count, dtype=np.int64),
        unit_offsets=np.arange(0, count + 1, len(sides), dtype=np.int64),
        row_values=np.zeros(count, np.float32),
    )


def _model_folder() -> Path:
    folder = Path(tempfile.mkdtemp(prefix="benchmark-model-"))
    save_model(folder)
    return folder


def save_model(folder: Path) -> None:
    """A Llama of 17 million random weights and a tokenizer of words w4, w5, ..."""
    torch.manual_seed(0)
    config = LlamaConfig(
        vocab_size=VOCABULARY,
        hidden_size=384,
        intermediate_size=1024,
        num_hidden_layers=6,
        num_attention_heads=6,
        num_key_value_heads=6,
        max_position_embeddings=2 * LONGEST,
        bos_token_id=1,
        eos_token_id=2,
        pad_token_id=0,
        tie_word_embeddings=False,
    )
    LlamaForCausalLM(config).save_pretrained(folder)
    words = {"<pad>": 0, "<s>": 1, "</s>": 2, "<unk>": 3}
    words |= {f"w{number}": number for number in range(4, VOCABULARY)}
    tokenizer = Tokenizer(models.WordLevel(words, unk_token="<unk>"))
    tokenizer.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        bos_token="<s>",
        eos_token="</s>",
        pad_token="<pad>",
        unk_token="<unk>",
    ).save_pretrained(folder)
