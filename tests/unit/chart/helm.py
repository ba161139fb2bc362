"""Runs helm on the project's chart."""

import functools
import subprocess
from pathlib import Path
from typing import Any

import yaml

from devcluster.binaries import obtain

ROOT = Path(__file__).parents[3]
CHART = ROOT / "charts" / "finetune-operator"
KUBE_VERSION = "--kube-version=1.36.0"
NAMESPACE = "finetune-system"

Document = dict[str, Any]


@functools.cache
def helm_program() -> Path:
    """helm from PATH or the dev cluster's cache; built there when there is none."""
    return obtain(["helm"])["helm"]


def helm(*arguments: str) -> "subprocess.CompletedProcess[str]":
    """One helm call, whatever its exit code."""
    command = [str(helm_program()), *arguments]
    return subprocess.run(command, capture_output=True, text=True, check=False)


def template(*arguments: str, chart: Path = CHART) -> "subprocess.CompletedProcess[str]":
    """`helm template` of a release named like the chart."""
    return helm(
        "template", "finetune-operator", str(chart), f"--namespace={NAMESPACE}", KUBE_VERSION,
        *arguments,
    )  # fmt: skip


def render(*values: str) -> list[Document]:
    """The chart's objects with `--set` values."""
    result = template(*[f"--set={value}" for value in values])
    assert result.returncode == 0, result.stderr
    return [document for document in yaml.safe_load_all(result.stdout) if document]


def of_kind(documents: list[Document], kind: str) -> list[Document]:
    """The objects of a kind."""
    return [document for document in documents if document["kind"] == kind]
