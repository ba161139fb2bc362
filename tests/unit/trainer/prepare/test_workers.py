"""Several processes make what one makes, and end with it."""

import gc
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from finetune_api.errors import InternalError
from finetune_trainer.data.rendering import Rendering
from finetune_trainer.preparation import row_work, workers
from finetune_trainer.preparation.row_work import RowTask

from tests.unit.trainer.prepare.conftest import World, prepared, report


def rows(count: int) -> list[dict[str, Any]]:
    """Rows of which a few are bad, alike or hold an address."""
    made = []
    for n in range(count):
        answer = f"It is {n} and {n * 7919 % 1000}, which nobody would have thought of."
        made.append({"prompt": f"What is the number of machine {n}?", "completion": answer})
        if n % 50 == 7:
            made.append({"prompt": "no answer"})
        if n % 60 == 9:
            made.append({"prompt": f"Whose address is {n}?", "completion": f"max{n}@firma.de"})
    return made


def outcome(world: World, name: str) -> tuple[Any, dict[str, bytes]]:
    """(report, files of arrays) of the rows."""
    uri = world.rows("rows.jsonl", rows(600))
    world.output_name = name
    checks = {"maxInvalidRows": 100, "personalData": "Redact"}
    message = world.prepare(data={"train": [{"uri": uri}], "checks": checks})
    folder = Path(message.prepared.uri.removeprefix("file://")) if message.prepared else None
    assert folder is not None
    assert prepared(message).train.units > 400
    return report(message), {p.name: p.read_bytes() for p in folder.glob("*.safetensors")}


def test_two_processes_make_what_one_makes(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    alone = outcome(world, "alone")
    monkeypatch.setattr(workers, "SMALL_BYTES", 0)
    monkeypatch.setattr(workers, "available_cpus", lambda: 2)

    assert outcome(world, "crew") == alone


def test_small_batches_make_what_large_ones_make(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    alone = outcome(world, "alone")
    monkeypatch.setattr(row_work, "BATCH", 7)

    assert outcome(world, "small") == alone


def test_what_the_tokenizer_raises_beside_the_reading_is_raised(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: Any) -> None:
        raise RuntimeError("the tokenizer broke")

    monkeypatch.setattr(Rendering, "encode", fail)

    with pytest.raises(RuntimeError, match="the tokenizer broke"):
        world.prepare()
    assert not gc.get_freeze_count()


def test_a_process_that_dies_ends_the_preparation_in_words(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(workers, "SMALL_BYTES", 0)
    monkeypatch.setattr(workers, "available_cpus", lambda: 2)
    monkeypatch.setattr(workers, "_run", _die)

    with pytest.raises(InternalError, match=r"died, most likely for want of memory"):
        world.prepare()


def _die(_task: RowTask) -> None:
    import os

    os._exit(9)


def test_a_process_that_reads_rows_loads_no_torch() -> None:
    code = (
        "import sys, json, finetune_trainer.preparation.workers;"
        "print(json.dumps([m for m in ('torch', 'boto3', 'trl') if m in sys.modules]))"
    )
    said = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)

    assert json.loads(said.stdout) == []
