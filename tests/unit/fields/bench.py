"""Where effects are observed: a tiny model, an adapter on it and rows, all made on the fly."""

import copy
import json
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from finetune_api.spec import FineTuneJobSpec
from transformers import LlamaConfig, LlamaForCausalLM, LlamaForSequenceClassification

from tests.unit.trainer.adapters_support import make_adapter
from tests.unit.trainer.data.conftest import CHATML, make_tokenizer

SHARED = "file:///bench"
"""Stands in a table for the folder of what is only read."""
FRESH = "file:///fresh"
"""Stands in a table for a folder that is empty before each observation."""

SMALLEST: dict[str, Any] = {
    "method": "SFT",
    "model": {"uri": f"{SHARED}/model"},
    "data": {"train": [{"uri": f"{SHARED}/questions.jsonl"}]},
    "adapter": {"rank": 4, "alpha": 8, "dropout": "0", "targetModules": ["q_proj", "up_proj"]},
    "training": {
        "sequenceLength": 96,
        "globalBatchSize": 8,
        "maxSteps": 3,
        "learningRate": "1e-2",
        "warmupRatio": "0",
        "precision": "FP32",
        "gradientCheckpointing": False,
    },
    "evaluation": {"enabled": False},
    "output": {"uri": f"{FRESH}/store"},
}
"""A job of three steps in fp32, whose blocks an entry replaces field by field."""
_WHOLE = ("data", "model")
"""Blocks that an entry replaces as a whole."""


@dataclass(frozen=True)
class Bench:
    """The folders of one observation."""

    shared: Path
    fresh: Path

    @classmethod
    def make(cls, root: Path) -> "Bench":
        """A bench in the empty folder `root`."""
        shared = root / "shared"
        for seed, name in enumerate(("model", "other-model")):
            _make_model(shared / name, seed)
        for seed, name in enumerate(("judge", "other-judge"), start=2):
            _make_model(shared / name, seed, LlamaForSequenceClassification)
        base = (shared / "model").as_uri()
        make_adapter(shared / "model", shared / "adapter", base, rank=2, target_modules=["q_proj"])
        for name, rows in _rows().items():
            (shared / f"{name}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
        return cls(shared, root / "fresh")

    def emptied(self) -> "Bench":
        """The same with nothing left of the observation before."""
        shutil.rmtree(self.fresh, ignore_errors=True)
        self.fresh.mkdir()
        return self

    def spec(self, document: dict[str, Any]) -> FineTuneJobSpec:
        """The spec in `document`, over this bench's folders. Raises ValidationError."""
        text = json.dumps(document).replace(SHARED, self.shared.as_uri())
        return FineTuneJobSpec.parse_wire(json.loads(text.replace(FRESH, self.fresh.as_uri())))


def document(within: dict[str, Any]) -> dict[str, Any]:
    """SMALLEST with what `within` says; None leaves a field out."""
    made = copy.deepcopy(SMALLEST)
    for name, block in within.items():
        merged = isinstance(block, dict) and name not in _WHOLE
        fields = {**made.get(name, {}), **block} if merged else block
        made[name] = {n: v for n, v in fields.items() if v is not None} if merged else fields
    return made


def _make_model(folder: Path, seed: int, kind: Any = LlamaForCausalLM) -> None:
    """A Llama of about 40 thousand parameters whose chats are ChatML; it writes, or scores."""
    torch.manual_seed(seed)
    config = LlamaConfig(
        vocab_size=512,
        hidden_size=32,
        intermediate_size=64,
        num_hidden_layers=2,
        num_attention_heads=4,
        num_key_value_heads=2,
        max_position_embeddings=256,
        initializer_range=0.2,
        id2label={0: "score"},
    )
    kind(config).save_pretrained(folder)
    make_tokenizer(CHATML).save_pretrained(folder)


def _rows() -> dict[str, list[dict[str, Any]]]:
    """Name of a file -> its rows."""
    words = ["drum", "river", "gate", "wheel"]
    questions = [
        {
            "instruction": f"What is {n}?",
            "response": f"It is {words[n % 4]}." + " Yes." * (n % 3),
            "owner": words[n % 3],
        }
        for n in range(40)
    ]
    long = {"instruction": "Say it all.", "response": "and so on " * 60}
    return {
        "questions": questions,
        "others": [{"instruction": f"Why {n}?", "response": f"So {n}."} for n in range(8)],
        "one-long": [*questions, long],
        "faulty": [*questions, *_faulty()],
        "one-bad": [*questions, {"instruction": "Why?", "response": ""}],
        "columns": [{**row, "ask": f"And {n}?"} for n, row in enumerate(questions)],
        "chats": [_chat(n) for n in range(8)],
        "pairs": [
            {"prompt": f"What is {n}?", "chosen": f"It is {n}.", "rejected": "Who can say."}
            for n in range(24)
        ],
        "feedback": [
            {"prompt": f"What is {n}?", "completion": f"It is {n}.", "label": n % 3 > 0}
            for n in range(24)
        ],
        "rankings": [
            {
                "prompt": f"What is {n}?",
                "responses": [f"It is {n}.", "Who can say.", f"Maybe {n} or more."],
                "scores": [5, 1, 2.5],
            }
            for n in range(24)
        ],
        "prompts": [{"prompt": f"What is {n}?", "answer": str(n)} for n in range(24)],
        "documents": [_text(n, "drum") for n in range(12)],
        "general": [_text(n, "river") for n in range(12)],
        "more-general": [_text(n, "gate") for n in range(12)],
        "either": [
            {**_text(n, "wheel"), "prompt": f"Turn {n}?", "completion": "Yes."} for n in range(12)
        ],
    }


def _faulty() -> list[dict[str, Any]]:
    """A row, or two, for each check of rows."""
    rows = [
        ("Which key?", "ghp_" + "a1B2c3D4e5F6g7H8i9J0k1L2m3N4o5P6q7R8"),
        ("Who asks?", "jane.doe@acme-handels.de"),
        ("Open?", "Yes, wide open."),
        ("Open?", "No, it is locked."),
        ("What is 3?", "It is wheel."),
        ("Wie geht das?", "Man dreht den Deckel nach links und wartet, bis die Lampe ausgeht."),
        ("Go on.", "a b c d " * 20),
    ]
    return [{"instruction": ask, "response": answer, "owner": "gate"} for ask, answer in rows]


def _chat(number: int) -> dict[str, Any]:
    """A row of two formats: a conversation of two turns, and a question with its answer."""
    turns = [("user", f"Is it {number}?"), ("assistant", "It is."), ("user", "Sure?")]
    messages = [{"role": role, "content": text} for role, text in turns]
    messages.append({"role": "assistant", "content": f"Yes, {number}."})
    return {"messages": messages, "instruction": f"Name {number}.", "response": "Done."}


def _text(number: int, word: str) -> dict[str, Any]:
    text = f"The {word} {number} turns. " * 8
    return {"title": f"Part {number}", "text": text, "body": f"A {word} again. " * 8}
