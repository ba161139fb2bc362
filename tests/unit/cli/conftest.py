"""A job file, and the command line as a process with a stand-in for the trainer."""

import json
import os
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.unit.api.jobs import document

STANDIN = Path(__file__).parent / "standin"
Result = subprocess.CompletedProcess[str]


@pytest.fixture
def write_job(tmp_path: Path) -> Callable[..., Path]:
    """Writes a job with the given blocks of its spec."""

    def write(**spec: Any) -> Path:
        file = tmp_path / "job.yaml"
        file.write_text(yaml.safe_dump(document(**spec)))
        return file

    return write


@dataclass
class CommandLine:
    """`finetune` as a process."""

    folder: Path

    def start(self, *arguments: str, trainer: dict[str, Any] | None = None) -> Any:
        """The process; `trainer` says what the stand-in does at each step."""
        script = self.folder / "standin.json"
        script.write_text(json.dumps(trainer or {}))
        path = f"{self.folder / 'bin'}{os.pathsep}{os.environ['PATH']}"
        env = {"PYTHONPATH": str(STANDIN), "FINETUNE_STANDIN": str(script), "PATH": path}
        return subprocess.Popen(
            [sys.executable, "-m", "finetune_cli", *arguments],
            env={**os.environ, **env},
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    def run(self, *arguments: str, trainer: dict[str, Any] | None = None) -> Result:
        """The same, to its end."""
        process = self.start(*arguments, trainer=trainer)
        out, err = process.communicate(timeout=60)
        return subprocess.CompletedProcess(arguments, process.returncode, out, err)


@pytest.fixture
def finetune(tmp_path: Path) -> CommandLine:
    return CommandLine(tmp_path)
