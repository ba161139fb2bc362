"""A model folder, rows and a run file, all local and small."""

import json
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from finetune_api.messages import PrepareMessage
from finetune_api.resolve import resolve
from finetune_api.runfile import RunFile
from finetune_api.spec import FineTuneJobSpec, Storage
from finetune_trainer.preparation.run import RefusedDataError, run_prepare
from finetune_trainer.prepared import Prepared
from finetune_trainer.prepared_files import read_prepared
from finetune_trainer.storage import open_store

from tests.unit.trainer.data.conftest import CHATML, make_tokenizer

CONFIG = {
    "architectures": ["LlamaForCausalLM"],
    "model_type": "llama",
    "max_position_embeddings": 2048,
    "vocab_size": 512,
    "hidden_size": 32,
    "intermediate_size": 64,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
}
SCORES = {**CONFIG, "architectures": ["LlamaForSequenceClassification"]}
ONE_LABEL = {"0": "LABEL_0"}


def prepared(message: PrepareMessage) -> Prepared:
    """What a preparation handed to training."""
    assert message.prepared is not None
    return read_prepared(Path(message.prepared.uri.removeprefix("file://")))


def report(message: PrepareMessage | RefusedDataError) -> Any:
    """report.json beside the page that status names."""
    assert message.data is not None
    assert message.data.report_uri is not None
    page = Path(message.data.report_uri.removeprefix("file://"))
    return json.loads(page.with_suffix(".json").read_text())


def text(row: Any) -> str:
    """All of a row that a report shows."""
    return "".join(segment["text"] for segment in row["segments"])


def learnt(row: Any) -> list[str]:
    """The label spans of a row that a report shows."""
    return [segment["text"] for segment in row["segments"] if segment["learnt"]]


@dataclass
class World:
    """A folder with a model and data, and jobs over them."""

    root: Path
    output_name: str = "out"
    said: list[str] = field(default_factory=list)
    """Progress lines of the last preparation."""
    parents: list[dict[str, str]] = field(default_factory=list)
    """Jobs that the run file pins."""

    @property
    def model(self) -> Path:
        return self.root / "model"

    @property
    def output(self) -> Path:
        return self.root / self.output_name

    def rows(self, name: str, rows: list[Any]) -> str:
        """Write JSON lines; returns their address."""
        path = self.root / name
        path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
        return path.as_uri()

    def run_file(self, **changes: Any) -> RunFile:
        """The run of a job over rows.jsonl; `changes` replace parts of the spec."""
        spec = {
            "method": "SFT",
            "model": {"uri": self.model.as_uri()},
            "data": {"train": [{"uri": (self.root / "rows.jsonl").as_uri()}]},
            "training": {"sequenceLength": 512},
            "output": {"uri": self.output.as_uri()},
            **changes,
        }
        resolved = resolve(FineTuneJobSpec.parse_wire(spec))
        return RunFile.parse_wire(
            {
                "job": {"namespace": "team", "name": "job", "uid": "0123456789"},
                "spec": resolved.to_wire(),
                "parents": self.parents,
            }
        )

    def prepare(self, **changes: Any) -> PrepareMessage:
        """Run the preparation of such a job."""
        self.said.clear()
        store = open_store(Storage(), allow_loopback=False)
        (self.root / "work").mkdir(exist_ok=True)
        return run_prepare(self.run_file(**changes), self.root / "work", store, self.said.append)

    def reads(self) -> bool:
        """Whether the last preparation read rows."""
        return any(line.startswith("reading") for line in self.said)


def good_rows(count: int) -> list[dict[str, str]]:
    return [
        {"instruction": f"What is {n}?", "response": f"The answer {n} is short."}
        for n in range(count)
    ]


@pytest.fixture(scope="session")
def model_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("model")
    make_tokenizer(CHATML).save_pretrained(folder)
    (folder / "config.json").write_text(json.dumps(CONFIG))
    (folder / "model.safetensors").write_bytes(b"weights that are not read")
    return folder


@pytest.fixture
def world(tmp_path: Path, model_folder: Path) -> World:
    made = World(tmp_path)
    made.model.mkdir()
    for path in model_folder.iterdir():
        (made.model / path.name).write_bytes(path.read_bytes())
    made.rows("rows.jsonl", good_rows(40))
    return made


def scoring_model(world: World, labels: dict[str, str]) -> Path:
    """A model that scores by itself."""
    folder = world.root / "judge"
    make_tokenizer(CHATML).save_pretrained(folder)
    (folder / "config.json").write_text(json.dumps({**SCORES, "id2label": labels}))
    (folder / "model.safetensors").write_bytes(b"weights that are not read")
    return folder


WorldChange = Callable[[World], None]
