"""Rows that are made, and a model to prepare them for."""

import json
from dataclasses import dataclass
from itertools import accumulate
from pathlib import Path
from random import Random
from typing import Any

from finetune_api.resolve import resolve
from finetune_api.runfile import RunFile
from finetune_api.spec import FineTuneJobSpec
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import PreTrainedTokenizerFast

WORDS = 60
VOCABULARY = 8000
CHECKS = (
    "personalData",
    "secrets",
    "duplicates",
    "leakage",
    "contradictions",
    "language",
    "quality",
    "license",
)
CONFIG = {
    "architectures": ["LlamaForCausalLM"],
    "model_type": "llama",
    "max_position_embeddings": 2048,
    "vocab_size": VOCABULARY,
}


@dataclass(frozen=True)
class Workload:
    """A file of rows and a model folder."""

    folder: Path
    rows: int

    @classmethod
    def make(cls, folder: Path, rows: int) -> "Workload":
        """Write `rows` documents of 60 words, frequent words more often, as in a language."""
        random = Random(rows)
        letters = "etaoinshrdlucmfwypvbgkjqxz"
        weights = [1 / (place + 1) for place in range(len(letters))]
        lexicon = [
            "".join(random.choices(letters, weights, k=random.randint(2, 9))) for _ in range(20000)
        ]
        frequency = list(accumulate(1 / (rank + 1) for rank in range(len(lexicon))))
        (folder / "model").mkdir(parents=True)
        with (folder / "rows.jsonl").open("w") as file:
            for _ in range(rows):
                words = random.choices(lexicon, cum_weights=frequency, k=WORDS)
                file.write(json.dumps({"text": f"{' '.join(words).capitalize()}."}) + "\n")
        _save_model(folder, lexicon, frequency, random)
        return cls(folder, rows)

    def run_file(self, name: str) -> RunFile:
        """The job that prepares the rows, with the checks that `name` says."""
        checks: dict[str, Any] = dict.fromkeys(CHECKS, "Off")
        if name == "ours, defaults":
            checks = {}
        elif name.endswith(" on"):
            checks[name.removeprefix("ours, ").removesuffix(" on")] = "Report"
        spec = {
            "method": "CPT",
            "model": {"uri": (self.folder / "model").as_uri()},
            "data": {"train": [{"uri": (self.folder / "rows.jsonl").as_uri()}], "checks": checks},
            "training": {"sequenceLength": 2048},
            "output": {"uri": (self.folder / "out").as_uri()},
        }
        resolved = resolve(FineTuneJobSpec.parse_wire(spec)).to_wire()
        job = {"namespace": "bench", "name": "prepare", "uid": "0123456789"}
        return RunFile.parse_wire({"job": job, "spec": resolved})


def _save_model(folder: Path, lexicon: list[str], frequency: list[float], random: Random) -> None:
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    texts = (" ".join(random.choices(lexicon, cum_weights=frequency, k=WORDS)) for _ in range(5000))
    trainer = trainers.BpeTrainer(
        vocab_size=VOCABULARY,
        special_tokens=["</s>"],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator(texts, trainer)
    fast = PreTrainedTokenizerFast(tokenizer_object=tokenizer, eos_token="</s>")
    fast.save_pretrained(folder / "model")
    (folder / "model" / "config.json").write_text(json.dumps(CONFIG))
    (folder / "model" / "model.safetensors").write_bytes(b"not read")
