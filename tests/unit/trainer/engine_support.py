"""A tiny Llama, rows of tokens and run files, for the trainer's tests."""

import json
import os
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from finetune_api.messages import LaunchMessage, decode
from finetune_api.resolve import resolve
from finetune_api.runfile import JobIdentity, RunFile
from finetune_api.spec import FineTuneJobSpec
from finetune_api.status import DataStatus, PreparedStatus
from finetune_api.units import Unit
from finetune_trainer.data.table import UnitTable
from finetune_trainer.prepared import PreparedMetadata, PreparedSplit, SampleRow, SourceInfo, Splits
from finetune_trainer.prepared_files import write_prepared
from tokenizers import Tokenizer, models, pre_tokenizers
from torch.nn import functional
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

VOCABULARY = 128
DATA_HASH = "d" * 64
REPOSITORY = Path(__file__).parents[3]


def make_split(lengths: list[int], *, seed: int = 0, rows_per_unit: int = 1) -> PreparedSplit:
    """Rows of random tokens; the second half of each row, from position 1 on, is its label."""
    rng = np.random.default_rng(seed)
    sizes = np.array(lengths, np.int64)
    rows = len(sizes)
    return PreparedSplit(
        tokens=rng.integers(4, VOCABULARY, int(sizes.sum())).astype(np.int32),
        row_offsets=np.concatenate([[0], np.cumsum(sizes)]).astype(np.int64),
        span_starts=np.maximum(1, sizes // 2).astype(np.int32),
        span_ends=sizes.astype(np.int32),
        span_offsets=np.arange(rows + 1, dtype=np.int64),
        source_rows=np.arange(1, rows + 1, dtype=np.int64),
        source_files=np.zeros(rows, np.int32),
        group_ids=np.arange(rows, dtype=np.int64),
        unit_offsets=np.arange(0, rows + 1, rows_per_unit, dtype=np.int64),
        row_values=np.zeros(rows, np.float32),
    )


def mixed_lengths(rows: int, *, seed: int = 1) -> list[int]:
    """Row lengths from 4 to 30."""
    return [int(n) for n in np.random.default_rng(seed).integers(4, 31, rows)]


def make_prompts(rows: int, *, seed: int) -> PreparedSplit:
    """Prompts of 2 to 6 tokens, which the model is to answer."""
    rng = np.random.default_rng(seed)
    table = UnitTable()
    for row in range(rows):
        tokens = rng.integers(4, VOCABULARY, int(rng.integers(2, 7))).tolist()
        table.add([(tokens, [])], file=0, row=row + 1, group=row)
    return table.to_split()


def cross_entropy(model: Any, split: PreparedSplit) -> float:
    """Mean over the label tokens, row by row and without the engine."""
    total, labels = 0.0, 0
    for index in range(len(split)):
        tokens, spans = split.row(index)
        start, end = spans[0].tolist()
        ids = torch.tensor(tokens.astype("int64"))[None]
        with torch.no_grad():
            logits = model(input_ids=ids).logits[0, start - 1 : end - 1]
        total += float(functional.cross_entropy(logits, ids[0, start:end], reduction="sum"))
        labels += end - start
    return total / labels


def make_model(folder: Path) -> Path:
    """Save a Llama of about 50 thousand parameters, and a tokenizer, in `folder`."""
    torch.manual_seed(0)
    config = LlamaConfig(
        vocab_size=VOCABULARY,
        hidden_size=32,
        intermediate_size=96,
        num_hidden_layers=2,
        num_attention_heads=4,
        num_key_value_heads=2,
        max_position_embeddings=128,
        bos_token_id=1,
        eos_token_id=2,
        pad_token_id=0,
        initializer_range=0.2,
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
    return folder


def make_prepared(
    folder: Path,
    train: PreparedSplit,
    evaluation: PreparedSplit,
    partners: Splits | None = None,
) -> Path:
    """Write prepared data as `prepare` does."""
    metadata = PreparedMetadata(
        unit=Unit.ROW,
        data_hash=DATA_HASH,
        tokenizer_digest="0" * 64,
        sequence_length=32,
        counts=DataStatus(rows=len(train), evaluation_rows=len(evaluation)),
        evaluation_tokens=int(evaluation.row_offsets[-1]),
        sources=[SourceInfo(uri="s3://b/rows", sha256="0" * 64, files=[], rows=len(train))],
        samples=[
            SampleRow(
                prompt_messages=[{"role": "user", "content": "w5 w6 w7"}],
                prompt_text_rendered="w5 w6 w7",
                answer_reference="w8",
            )
        ],
    )
    write_prepared(folder, metadata, train, evaluation, partners=partners)
    return folder


@dataclass(frozen=True)
class Ended:
    """A finished `launch`."""

    code: int
    message: LaunchMessage
    log: str


@dataclass(frozen=True)
class Sandbox:
    """A model, prepared data and a store in one folder."""

    root: Path

    @classmethod
    def make(cls, root: Path, *, rows: int = 40) -> "Sandbox":
        """A sandbox with `rows` training rows and eight held-out rows."""
        make_model(root / "model")
        train, evaluation = make_split(mixed_lengths(rows)), make_split(mixed_lengths(8), seed=9)
        make_prepared(root / "prepared", train, evaluation)
        return cls(root)

    def run_file(self, name: str, *, recipe: str = "a", **spec: Any) -> Path:
        """A run file of the job `name`; `spec` overrides the test's defaults block by block."""
        document: dict[str, Any] = {
            "method": "SFT",
            "model": {"uri": (self.root / "model").as_uri(), "id": "tests/tiny"},
            "data": {"train": [{"uri": (self.root / "rows.jsonl").as_uri()}]},
            "adapter": {"rank": 4, "alpha": 8, "dropout": "0.1"},
            "training": {},
            "evaluation": {} if spec.get("method") == "Reward" else {"maxNewTokens": 4},
            "output": {"uri": (self.root / "store").as_uri()},
        }
        training: dict[str, Any] = {
            "epochs": "2",
            "globalBatchSize": 8,
            "learningRate": "1e-2",
            "precision": "FP32",
            "sequenceLength": 32,
            "microBatchTokens": 64,
        }
        training |= spec.pop("training", {})
        if "maxSteps" in training:
            del training["epochs"]
        document["training"] = training
        run = RunFile(
            job=JobIdentity(namespace="team", name=name, uid="11111111-2222"),
            spec=resolve(FineTuneJobSpec.parse_wire(document | spec)),
            attempt=1,
            prepared=PreparedStatus(
                uri=(self.root / "prepared").as_uri(), data_hash=DATA_HASH, recipe_hash=recipe * 64
            ),
            allow_loopback=True,
        )
        path = self.root / f"{name}.json"
        path.write_text(run.dump(), encoding="utf-8")
        return path

    def start(self, run_file: Path, **env: str) -> subprocess.Popen[str]:
        """Start `python -m finetune_trainer launch` on `run_file`."""
        work = self.root / f"work-{run_file.stem}"
        paths = f"{REPOSITORY / 'api'}{os.pathsep}{REPOSITORY / 'trainer_image'}"
        return subprocess.Popen(
            [sys.executable, "-m", "finetune_trainer", "launch", str(run_file)],
            env={
                **os.environ,
                "PYTHONPATH": paths,
                "FINETUNE_WORK_DIR": str(work),
                "FINETUNE_TERMINATION_LOG": str(self.root / f"{run_file.stem}.message"),
                "FINETUNE_PROGRESS_PORT": "0",
                "OMP_NUM_THREADS": "1",
                **env,
            },
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )

    def finish(self, process: subprocess.Popen[str], run_file: Path) -> Ended:
        """Wait for a started launch."""
        log, _ = process.communicate(timeout=200)
        text = (self.root / f"{run_file.stem}.message").read_text(encoding="utf-8")
        message = decode(LaunchMessage, text)
        assert message is not None, text
        return Ended(process.returncode, message, log)

    def launch(self, run_file: Path, **env: str) -> Ended:
        """Run a launch to its end."""
        return self.finish(self.start(run_file, **env), run_file)

    def job_folder(self, name: str) -> Path:
        """Where the job's results lie."""
        return self.root / "store" / "team" / name

    def metrics(self, name: str) -> list[dict[str, Any]]:
        """Lines of the published run's metrics."""
        manifest = json.loads((self.job_folder(name) / "manifest.json").read_text())
        path = Path(manifest["runURI"].removeprefix("file://")) / "report" / "metrics.jsonl"
        return [json.loads(line) for line in path.read_text().splitlines()]

    def weights(self, name: str) -> dict[str, torch.Tensor]:
        """The published adapter's tensors."""
        from safetensors.torch import load_file

        manifest = json.loads((self.job_folder(name) / "manifest.json").read_text())
        folder = Path(manifest["resultURI"].removeprefix("file://"))
        return load_file(folder / "adapter_model.safetensors")
