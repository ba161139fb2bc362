"""`finetune status` and `finetune watch`, with a program in kubectl's place."""

import json
import stat
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from tests.unit.api.jobs import document
from tests.unit.cli.conftest import CommandLine

KUBECTL = """#!/usr/bin/env python3
import json, sys
from pathlib import Path
here = Path(__file__).parent
with (here / "calls").open("a") as calls:
    calls.write(json.dumps(sys.argv[1:]) + "\\n")
if "--raw" in sys.argv:
    file = here / "progress.json"
elif "pods" in sys.argv:
    file = here / "pods.json"
else:
    steps = sorted(here.glob("job-*.json"))
    file = steps[0]
    if len(steps) > 1:
        text = file.read_text()
        file.unlink()
        sys.exit(print(text))
if not file.exists():
    sys.exit("Error from server (NotFound): no such thing")
print(file.read_text())
"""
PROGRESS = {"stage": "Training", "step": 4, "totalSteps": 40, "percent": 10, "novelty": 1}


def condition(kind: str, value: str, reason: str, message: str = "") -> dict[str, Any]:
    return {
        "type": kind,
        "status": value,
        "reason": reason,
        "message": message,
        "lastTransitionTime": "2026-01-01T00:00:00Z",
    }


COMPLETE = {
    "phase": "Complete",
    "conditions": [condition("Complete", "True", "Published")],
    "output": {"uri": "s3://a/b", "manifestSHA256": "0", "baseModel": "s3://models/llama"},
    "evaluation": {"before": {"crossEntropy": "3.1"}, "after": {"crossEntropy": "1.2"}},
}
FAILED = {
    "phase": "Failed",
    "conditions": [
        condition("DataReady", "False", "InvalidData", "row 7 has no response"),
        condition("Failed", "True", "InvalidData", "row 7 has no response"),
    ],
}


@pytest.fixture
def bin_folder(tmp_path: Path) -> Path:
    folder = tmp_path / "bin"
    folder.mkdir()
    program = folder / "kubectl"
    program.write_text(KUBECTL)
    program.chmod(program.stat().st_mode | stat.S_IXUSR)
    return folder


def script(folder: Path, statuses: Sequence[dict[str, Any]], **files: Any) -> None:
    """What kubectl tells of the job, call by call; the last for good."""
    for number, status in enumerate(statuses):
        text = json.dumps({**document(), "status": status})
        (folder / f"job-{number:02d}.json").write_text(text)
    for name, content in files.items():
        (folder / f"{name}.json").write_text(json.dumps(content))


def test_status_shows_conditions_and_the_remedy_of_the_failing_one(
    finetune: CommandLine, bin_folder: Path
) -> None:
    script(bin_folder, [FAILED])
    result = finetune.run("status", "support-sft", "-n", "team-a", "--context", "dev")
    assert result.returncode == 0
    lines = result.stdout.splitlines()
    assert lines[0] == "team-a/support-sft  SFT  Failed"
    assert " ".join(lines[2].split()) == "Failed True InvalidData: row 7 has no response"
    assert lines[3].startswith("what to do about InvalidData: Mend the rows")
    (call,) = map(json.loads, (bin_folder / "calls").read_text().splitlines())
    assert {"--context=dev", "--namespace=team-a", "finetunejobs.finetune.dev"} <= set(call)


def test_status_draws_how_far_a_running_job_is(finetune: CommandLine, bin_folder: Path) -> None:
    script(bin_folder, [{"phase": "Running", "progress": {**PROGRESS, "percent": 50}}])
    result = finetune.run("status", "support-sft")
    assert "[############............] Training step 4/40 (50%)" in result.stdout


def test_status_reads_what_a_newer_operator_wrote(finetune: CommandLine, bin_folder: Path) -> None:
    script(bin_folder, [{**COMPLETE, "newField": {"a": 1}}])
    result = finetune.run("status", "support-sft")
    assert result.returncode == 0
    assert "held-out cross entropy: 3.1 before, 1.2 after" in result.stdout
    assert "result: s3://a/b (base s3://models/llama)" in result.stdout


def test_a_job_that_does_not_exist_is_told_in_kubectls_words(
    finetune: CommandLine, bin_folder: Path
) -> None:
    (bin_folder / "kubectl").write_text("#!/bin/sh\necho 'Error (NotFound): x' >&2\nexit 1\n")
    for command in ("status", "watch"):
        result = finetune.run(command, "nobody")
        assert (result.returncode, result.stderr) == (1, "Error (NotFound): x\n")


def pod(name: str, replica: str | None, **metadata: Any) -> dict[str, Any]:
    labels = {"training.kubeflow.org/replica-type": replica} if replica else {}
    return {"metadata": {"name": name, "labels": labels, **metadata}}


@pytest.mark.parametrize(
    ("pods", "first"),
    [
        pytest.param(
            [pod("sft-3-master-0", "master"), pod("sft-3-worker-0", "worker")],
            "sft-3-master-0",
            id="training operator",
        ),
        pytest.param(
            [pod("sft-3-x7f2k", None), pod("sft-3-a1b2c", None, deletionTimestamp="2026")],
            "sft-3-x7f2k",
            id="batch Job",
        ),
    ],
)
def test_watch_follows_to_the_end_with_live_progress(
    finetune: CommandLine, bin_folder: Path, pods: list[dict[str, Any]], first: str
) -> None:
    queued = {"phase": "Queued", "conditions": [condition("Reconciling", "True", "WaitingForPods")]}
    progress = {**PROGRESS, "step": 1, "percent": 2}
    running = {"phase": "Running", "progress": progress, "incarnation": 3}
    script(bin_folder, [queued, running, COMPLETE], pods={"items": pods}, progress=PROGRESS)
    result = finetune.run("watch", "support-sft", "-n", "team-a")
    assert (result.returncode, result.stderr) == (0, "")
    assert result.stdout.splitlines() == [
        "Queued (WaitingForPods)",
        "Running, Training: step 4/40 (10%)",
        "Complete",
        "held-out cross entropy: 3.1 before, 1.2 after (nats per token)",
        "result: s3://a/b (base s3://models/llama)",
    ]
    calls = (bin_folder / "calls").read_text()
    assert f"/api/v1/namespaces/team-a/pods/{first}:9463/proxy/progress" in calls
    assert "finetune.dev/role=train,finetune.dev/incarnation=3" in calls


def test_watch_falls_back_to_what_the_operator_wrote(
    finetune: CommandLine, bin_folder: Path
) -> None:
    script(bin_folder, [{"phase": "Running", "progress": PROGRESS}, COMPLETE], pods={"items": []})
    result = finetune.run("watch", "support-sft")
    assert "Running, Training: step 4/40 (10%)" in result.stdout


def test_watch_ends_with_1_and_the_remedy_when_the_job_fails(
    finetune: CommandLine, bin_folder: Path
) -> None:
    script(bin_folder, [FAILED])
    result = finetune.run("watch", "support-sft")
    assert result.returncode == 1
    assert "InvalidData: row 7 has no response" in result.stdout
    assert "what to do about InvalidData" in result.stdout


def test_watch_ends_with_3_when_time_is_over(finetune: CommandLine, bin_folder: Path) -> None:
    script(bin_folder, [{"phase": "Queued"}])
    result = finetune.run("watch", "support-sft", "--timeout", "0")
    assert result.returncode == 3
    assert "the time to watch is over" in result.stdout
