"""How long a rank takes from its start to the end of its first step.

The bar is a minimal script that imports torch and transformers and loads the same model, in the
type that the rank computes in, and does no step. The agent's own start is not part of either.
"""

import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from functools import partial
from pathlib import Path

from finetune_api.resolve import resolve
from finetune_api.runfile import WORK_DIR_VARIABLE, JobIdentity, RunFile
from finetune_api.spec import FineTuneJobSpec, Storage
from finetune_trainer.launch.agent import RANK_MODULE
from finetune_trainer.preparation.run import run_prepare
from finetune_trainer.storage import open_store

from benchmarks.alternate import Contestant, alternate, table
from benchmarks.trainer.workload import save_model
from devcluster.ports import free_ports

OURS = "rank, to the end of its first step"
MINIMAL = "minimal script, to the loaded model"
_SCRIPT = """
import sys, torch
from transformers import AutoModelForCausalLM
AutoModelForCausalLM.from_pretrained(sys.argv[1], dtype=torch.float32)
print("loaded", flush=True)
"""


def compare(rounds: int) -> str:
    """Markdown: starts in a second, so that 1 / 1.3 = 0.77 is the bar."""
    with tempfile.TemporaryDirectory(prefix="benchmark-start-") as name:
        folder = Path(name)
        run_file = make_run(folder)
        contestants: dict[str, Contestant] = {
            OURS: partial(_rank, run_file, folder / "work"),
            MINIMAL: partial(_starts_per_second, [sys.executable, "-c", _SCRIPT, folder / "model"]),
        }
        outcome = alternate(contestants, rounds)
    title = "Start of a rank, one process, model and data on local disk"
    return table(title, "starts/s", outcome, OURS, {MINIMAL: ">= 0.77"})


def make_run(folder: Path) -> Path:
    """The run file of a small prepared SFT job whose every address lies below `folder`."""
    save_model(folder / "model")
    rows = folder / "rows.jsonl"
    rows.write_text('{"prompt": "w5 w6 w7", "completion": " w8 w9"}\n' * 64, encoding="utf-8")
    spec = {
        "method": "SFT",
        "model": {"uri": (folder / "model").as_uri()},
        "data": {"train": [{"uri": rows.as_uri()}]},
        "training": {
            "maxSteps": 2,
            "globalBatchSize": 4,
            "sequenceLength": 512,
            "precision": "FP32",
        },
        "evaluation": {"enabled": False},
        "output": {"uri": (folder / "store").as_uri()},
    }
    run = RunFile(
        job=JobIdentity(namespace="benchmark", name="start", uid="00000000-0000"),
        spec=resolve(FineTuneJobSpec.parse_wire(spec)),
    )
    store = open_store(Storage(), allow_loopback=False)
    prepared = run_prepare(run, folder, store, say=lambda _: None).prepared
    path = folder / "run.json"
    path.write_text(run.model_copy(update={"attempt": 1, "prepared": prepared}).dump())
    return path


def _rank(run_file: Path, work: Path) -> float:
    """Starts in a second of a rank that begins anew: an incarnation without history."""
    work.mkdir(exist_ok=True)
    environment = {
        "RANK": "0",
        "LOCAL_RANK": "0",
        "GROUP_RANK": "0",
        "WORLD_SIZE": "1",
        "LOCAL_WORLD_SIZE": "1",
        "MASTER_ADDR": "127.0.0.1",
        "MASTER_PORT": str(free_ports(1)[0]),
        WORK_DIR_VARIABLE: str(work),
    }
    command = [sys.executable, "-m", RANK_MODULE, str(run_file)]
    return _starts_per_second(command, environment, until="step 1/")


def _starts_per_second(
    command: Sequence[str | Path], environment: dict[str, str] | None = None, until: str = "loaded"
) -> float:
    """1 / seconds from the start of `command` until it prints `until`; it is ended then."""
    began = time.perf_counter()
    process = subprocess.Popen(
        command,
        env={**os.environ, **(environment or {})},
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    )
    assert process.stdout is not None
    with process:
        for line in process.stdout:
            if until in line:
                seconds = time.perf_counter() - began
                process.kill()
                return 1 / seconds
    raise RuntimeError(f"{command} ended with {process.returncode} before it printed {until!r}")
