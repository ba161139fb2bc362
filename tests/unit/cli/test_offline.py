"""Commands that need neither a cluster nor a trainer."""

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import yaml
from finetune_api.yamlfile import load_documents

from tests.unit.cli.conftest import CommandLine

WriteJob = Callable[..., Path]


def test_lint_says_nothing_bad_of_a_good_job(finetune: CommandLine, write_job: WriteJob) -> None:
    result = finetune.run("lint", str(write_job()))
    assert (result.returncode, result.stdout) == (0, "")


def test_lint_notes_that_a_job_trains_on_cpus(finetune: CommandLine, write_job: WriteJob) -> None:
    without = finetune.run("lint", str(write_job()))
    limits = {"resources": {"limits": {"amd.com/gpu": 1}}}
    with_gpu = finetune.run("lint", str(write_job(workers=limits)))
    assert "asks for no accelerator and trains on CPUs" in without.stderr
    assert "note:" not in with_gpu.stderr


def test_lint_prints_a_line_with_file_and_field_for_each_problem(
    finetune: CommandLine, write_job: WriteJob
) -> None:
    file = write_job(bogus=1, training={"learningRate": 0.1})
    result = finetune.run("lint", str(file))
    assert result.returncode == 1
    assert [line.rsplit(":", 1)[0] for line in result.stdout.splitlines()] == [
        f"{file}: spec.training.learningRate",
        f"{file}: spec.bogus",
    ]


def test_lint_passes_over_other_kinds_in_the_file(
    finetune: CommandLine, write_job: WriteJob
) -> None:
    file = write_job()
    file.write_text("kind: Namespace\napiVersion: v1\n---\n" + file.read_text())
    assert finetune.run("lint", str(file)).returncode == 0
    file.write_text("kind: Namespace\napiVersion: v1\n")
    assert "expected apiVersion finetune.dev" in finetune.run("lint", str(file)).stdout
    file.write_text("")
    assert "holds no FineTuneJob" in finetune.run("lint", str(file)).stdout


def test_render_prints_what_the_operator_would_create(
    finetune: CommandLine, write_job: WriteJob
) -> None:
    result = finetune.run("render", str(write_job()), "--image", "example.com/trainer:1")
    assert result.returncode == 0
    documents = list(yaml.safe_load_all(result.stdout))
    kinds = [document["kind"] for document in documents]
    assert kinds == ["ConfigMap", "Job", "ConfigMap", "PyTorchJob"]
    master = documents[3]["spec"]["pytorchReplicaSpecs"]["Master"]["template"]["spec"]
    assert master["containers"][0]["image"] == "example.com/trainer:1"
    mounted = next(v for v in master["volumes"] if v["name"] == "run")["configMap"]["name"]
    assert mounted == documents[2]["metadata"]["name"]
    assert result.stdout.startswith("# What the operator would create")


def test_render_shows_the_job_of_a_cluster_without_training_operator(
    finetune: CommandLine, write_job: WriteJob
) -> None:
    arguments = ("--backend", "Job")

    one = finetune.run("render", str(write_job(workers={"nodes": 1})), *arguments)
    two = finetune.run("render", str(write_job(workers={"nodes": 2})), *arguments)

    *_, training = yaml.safe_load_all(one.stdout)
    assert (training["apiVersion"], training["kind"]) == ("batch/v1", "Job")
    assert training["spec"]["template"]["spec"]["containers"][0]["image"]
    assert (two.returncode, two.stdout) == (1, "")
    assert "BackendUnavailable: a Job runs one pod, and 2 are asked for" in two.stderr
    assert "where: spec.workers.nodes" in two.stderr


@pytest.mark.parametrize("value", ["2e-4", "y", "010", "on", "1:30", "text", "two\nlines", ""])
def test_kubectl_reads_rendered_texts_as_texts(
    finetune: CommandLine, write_job: WriteJob, value: str
) -> None:
    file = write_job(podTemplate={"env": [{"name": "LR", "value": value}]})
    file.write_text(json.dumps(yaml.safe_load(file.read_text())))
    *_, training = load_documents(finetune.run("render", str(file)).stdout)
    master = training["spec"]["pytorchReplicaSpecs"]["Master"]["template"]["spec"]
    assert master["containers"][0]["env"][0] == {"name": "LR", "value": value}


def test_render_refuses_a_job_as_the_cluster_would(
    finetune: CommandLine, write_job: WriteJob
) -> None:
    result = finetune.run("render", str(write_job(model={"uri": "file:///m"})))
    assert (result.returncode, result.stdout) == (1, "")
    assert "InvalidSpec: spec.model: file:// works only in local runs" in result.stderr
    assert "what to do:" in result.stderr


@pytest.mark.parametrize(
    "arguments", [[], ["nothing"], ["render"], ["render", "/no/such/file"], ["run", "x"]]
)
def test_wrong_use_exits_with_2(finetune: CommandLine, arguments: list[str]) -> None:
    assert finetune.run(*arguments).returncode == 2


def test_help_loads_no_heavy_module() -> None:
    """What costs time at the start is imported by the command that needs it."""
    heavy = "{'yaml', 'pydantic', 'rich', 'torch', 'finetune_api.spec'}"
    script = (
        "import sys, finetune_cli.main\n"
        "try: finetune_cli.main.main(['--help'])\n"
        "except SystemExit: pass\n"
        f"print('heavy:', sorted({heavy} & set(sys.modules)))"
    )
    result = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=True
    )
    assert result.stdout.splitlines()[-1] == "heavy: []"


@pytest.mark.parametrize("shell", ["bash", "zsh"])
def test_completion_knows_every_command(finetune: CommandLine, shell: str) -> None:
    script = finetune.run("completion", shell).stdout
    assert "lint render run prepare status watch completion" in script
    assert "--processes" in script
