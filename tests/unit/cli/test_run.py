"""`finetune run` with a stand-in for the trainer: what it starts, and how it ends."""

import json
import signal
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from finetune_api.errors import UserError
from finetune_api.manifest import Origin
from finetune_api.spec import Resources
from finetune_cli.accelerators import count_accelerators
from finetune_cli.jobfile import as_uri
from finetune_cli.run import refuse_missing_accelerators
from finetune_cli.summary import loading_lines

from tests.unit.api.jobs import job
from tests.unit.cli.conftest import CommandLine

WriteJob = Callable[..., Path]
HASH = "0" * 64
OUTPUT = {"uri": "file:///out/ad%20apter", "manifestSHA256": HASH, "baseModel": "base"}
EVALUATION = {
    "question": "Who\npays?",
    "before": {"crossEntropy": "3.1", "answer": "eh"},
    "after": {"crossEntropy": "1.2", "answer": "The buyer."},
}
PREPARED = {
    "message": {
        "outcome": "Done",
        "reason": "DataReady",
        "prepared": {"uri": "file:///out/prepared/x", "dataHash": HASH, "recipeHash": HASH},
        "data": {"rows": 1200, "evaluationRows": 20, "dropped": 3, "tokens": 45678},
    }
}
PUBLISHED = {
    "message": {
        "outcome": "Done",
        "reason": "Published",
        "output": OUTPUT,
        "evaluation": EVALUATION,
    }
}
STATE = Path(".finetune", "team-a", "support-sft")


def arguments(file: Path, *more: str) -> list[str]:
    return ["run", str(file), "--output", str(file.parent / "out"), *more]


def run_file(file: Path, step: str) -> dict[str, Any]:
    text = (file.parent / "out" / STATE / f"{step}.json").read_text()
    read: dict[str, Any] = json.loads(text)
    return read


def test_a_run_ends_with_quality_and_the_lines_that_load_the_result(
    finetune: CommandLine, write_job: WriteJob
) -> None:
    progress = {"stage": "Training", "step": 5, "totalSteps": 10, "percent": 50, "loss": "2.5"}
    launch = {**PUBLISHED, "progress": progress, "seconds": 0.6}
    result = finetune.run(*arguments(write_job()), trainer={"prepare": PREPARED, "launch": launch})
    assert (result.returncode, result.stderr) == (0, "")
    # What the preparation says meanwhile may or may not be seen.
    lines = [line for line in result.stdout.splitlines() if not line.startswith("Preparing  ")]
    assert [line for line in lines if line != "Preparing"] == [
        "Data: 1,200 rows to train on, 20 held out, 3 dropped, 45,678 tokens in an epoch",
        "Starting",
        "Training: step 5/10 (50%), loss 2.5",
        "held-out cross entropy: 3.1 before, 1.2 after (nats per token)",
        "question: Who pays?",
        "answer before: eh",
        "answer after: The buyer.",
        "adapter: /out/ad apter",
        "load it:",
        "  # base: a copy of s3://models/llama on this machine",
        "  from peft import PeftModel; "
        "from transformers import AutoModelForCausalLM, AutoTokenizer",
        "  base = AutoModelForCausalLM.from_pretrained('base')",
        "  model, tokenizer = PeftModel.from_pretrained(base, '/out/ad apter'), "
        "AutoTokenizer.from_pretrained('/out/ad apter')",
    ]


def test_a_run_that_stops_after_its_baseline_ends_with_what_was_measured(
    finetune: CommandLine, write_job: WriteJob
) -> None:
    evaluation = {"question": "Who pays?", "before": {"crossEntropy": "3.1", "answer": "eh"}}
    message = {"outcome": "Done", "reason": "BaselineMeasured", "evaluation": evaluation}
    trainer = {"prepare": PREPARED, "launch": {"message": message}}
    result = finetune.run(*arguments(write_job(stopAfter="Baseline")), trainer=trainer)
    assert (result.returncode, result.stderr) == (0, "")
    assert result.stdout.splitlines()[-3:] == [
        "held-out cross entropy: 3.1 before, not measured after (nats per token)",
        "question: Who pays?",
        "answer before: eh",
    ]


def test_prepare_ends_with_the_data_and_what_the_checks_found(
    finetune: CommandLine, write_job: WriteJob
) -> None:
    finding = {"check": "secrets", "mode": "DropRows", "rows": 3, "message": "keys in 3 rows"}
    told: dict[str, Any] = PREPARED["message"]
    page = "file:///out/prepared/x/report%20page.html"
    data = {**told["data"], "findings": [finding], "reportURI": page}
    file = write_job()
    words = ["prepare", str(file), "--output", str(file.parent / "out")]

    result = finetune.run(*words, trainer={"prepare": {"message": {**told, "data": data}}})

    assert (result.returncode, result.stderr) == (0, "")
    assert [line for line in result.stdout.splitlines() if "Preparing" not in line] == [
        "Data: 1,200 rows to train on, 20 held out, 3 dropped, 45,678 tokens in an epoch",
        "  secrets (DropRows): keys in 3 rows",
        "Report: /out/prepared/x/report page.html",
        "Tokens: /out/prepared/x",
    ]
    assert run_file(file, "prepare")["spec"]["stopAfter"] == "Data"


def test_an_adapter_is_loaded_on_the_base_that_it_was_trained_on(tmp_path: Path) -> None:
    spec = job(model={"uri": "s3://artifacts/team-a/earlier-job"}).spec
    origin = Origin(base_uri="file:///models/llama", base_digest="0" * 64, recipe_hash="1" * 64)
    (tmp_path / "origin.json").write_text(json.dumps(origin.to_wire()))
    lines = loading_lines(spec, str(tmp_path))
    assert lines[1] == "base = AutoModelForCausalLM.from_pretrained('/models/llama')"


def test_a_pattern_of_this_machine_stays_one(tmp_path: Path) -> None:
    folder = tmp_path.as_uri()
    assert as_uri(f"{tmp_path}/help pages/**/[!a]*.html") == f"{folder}/help%20pages/**/[!a]*.html"
    (tmp_path / "rows[1].jsonl").touch()
    assert as_uri(f"{tmp_path}/rows[1].jsonl") == f"{folder}/rows%5B1%5D.jsonl"


def test_a_reward_model_is_loaded_with_the_head_that_scores() -> None:
    spec = job(method="Reward", adapter={"type": "LoRA"}).spec
    kind = "AutoModelForSequenceClassification"
    assert loading_lines(spec, "/out")[:3] == [
        "# base: a copy of s3://models/llama on this machine",
        f"from peft import PeftModel; from transformers import {kind}, AutoTokenizer",
        f"base = {kind}.from_pretrained('base', num_labels=1)",
    ]
    whole = job(method="Reward", adapter={"type": "None"}).spec
    assert loading_lines(whole, "/out")[-1] == f"model = {kind}.from_pretrained('/out')"


def test_the_trainer_gets_the_same_job_with_addresses_of_this_machine(
    finetune: CommandLine, write_job: WriteJob, tmp_path: Path
) -> None:
    file = write_job(
        workers={"nodes": 2, "processesPerNode": 4}, podTemplate={"labels": {"a": "b"}}
    )
    more = ["--model", str(tmp_path), "--train", str(tmp_path / "ro ws.jsonl"), "--processes", "2"]
    trainer = {"prepare": PREPARED, "launch": PUBLISHED}
    result = finetune.run(*arguments(file, *more), trainer=trainer)
    assert result.returncode == 0
    assert "not used without a cluster: podTemplate, workers.nodes" in result.stdout
    prepare, launch = run_file(file, "prepare"), run_file(file, "launch")
    assert prepare["spec"]["model"]["uri"] == tmp_path.as_uri()
    assert prepare["spec"]["data"]["train"][0]["uri"] == f"{tmp_path.as_uri()}/ro%20ws.jsonl"
    assert prepare["spec"]["output"]["uri"] == (tmp_path / "out").as_uri()
    assert prepare["spec"]["workers"]["nodes"] == 1
    assert prepare["spec"]["workers"]["processesPerNode"] == 2
    assert (prepare["attempt"], launch["attempt"]) == (0, 1)
    assert launch["prepared"] == PREPARED["message"]["prepared"]
    assert launch["spec"] == prepare["spec"]
    assert prepare["allowLoopback"] is True


def test_a_job_that_starts_from_another_finds_its_result_beside_its_own(
    finetune: CommandLine, write_job: WriteJob
) -> None:
    file, trainer = write_job(model={"fromJob": {"name": "base-cpt"}}), {"prepare": PREPARED}
    parent = file.parent / "out" / STATE.parent.name / "base-cpt"

    early = finetune.run(*arguments(file), trainer=trainer)

    assert early.returncode == 1
    assert f"job base-cpt has published nothing at {parent}: run it first" in early.stderr
    parent.mkdir(parents=True)
    (parent / "manifest.json").write_text("{}")
    finetune.run(*arguments(file), trainer={**trainer, "launch": PUBLISHED})
    assert run_file(file, "prepare")["spec"]["model"]["uri"] == parent.as_uri()


def test_a_rerun_is_the_same_job_and_another_name_is_not(
    finetune: CommandLine, write_job: WriteJob
) -> None:
    file, trainer = write_job(), {"prepare": PREPARED, "launch": PUBLISHED}
    uids = []
    for name in ("support-sft", "support-sft", "other"):
        file.write_text(file.read_text().replace("name: support-sft", f"name: {name}"))
        assert finetune.run(*arguments(file), trainer=trainer).returncode == 0
        state = file.parent / "out" / STATE.with_name(name)
        uids.append(json.loads((state / "launch.json").read_text())["job"]["uid"])
    assert uids[0] == uids[1] != uids[2]


def test_what_is_published_already_is_not_trained_again(
    finetune: CommandLine, write_job: WriteJob
) -> None:
    message = {"outcome": "Done", "reason": "AlreadyPublished", "adopted": OUTPUT}
    result = finetune.run(*arguments(write_job()), trainer={"prepare": {"message": message}})
    assert result.returncode == 0
    assert "already published" in result.stdout
    assert "adapter: /out/ad apter" in result.stdout


def test_bad_rows_are_named_with_what_to_do_and_the_log(
    finetune: CommandLine, write_job: WriteJob
) -> None:
    error = {"file": "rows.jsonl", "row": 7, "field": "response", "message": "is empty"}
    message = {
        "outcome": "UserError",
        "reason": "InvalidData",
        "message": "1 row is invalid",
        "where": "rows.jsonl:7",
        "data": {"rows": 0, "firstErrors": [error]},
    }
    file = write_job()
    trainer = {"prepare": {"message": message, "code": 64}}
    result = finetune.run(*arguments(file), trainer=trainer)
    assert result.returncode == 1
    lines = result.stderr.splitlines()
    assert lines[:2] == ["error: InvalidData: 1 row is invalid", "  where: rows.jsonl:7"]
    assert lines[2].startswith("  what to do: Mend the rows")
    assert lines[3] == "  rows.jsonl:7 response: is empty"
    log = file.parent / "out" / STATE / "prepare.log"
    assert lines[4] == f"  log: {log}"
    assert log.read_text() == "stand-in prepare for support-sft attempt 0\n"


def test_a_trainer_that_dies_without_a_word_is_told_with_its_last_lines(
    finetune: CommandLine, write_job: WriteJob
) -> None:
    trainer = {"prepare": PREPARED, "launch": {"code": 70}}
    result = finetune.run(*arguments(write_job()), trainer=trainer)
    assert result.returncode == 1
    assert "the trainer ended with exit code 70 and left no message" in result.stderr
    assert "  | stand-in launch for support-sft attempt 1" in result.stderr


def wait_for(file: Path, text: str) -> None:
    deadline = time.monotonic() + 30
    while not file.exists() or text not in file.read_text():
        assert time.monotonic() < deadline, f"{file} never said {text}"
        time.sleep(0.05)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_breaking_off_saves_a_checkpoint_and_says_how_to_go_on(
    finetune: CommandLine, write_job: WriteJob, number: signal.Signals
) -> None:
    message = {"outcome": "Interrupted", "reason": "Interrupted", "checkpointStep": 12}
    launch = {"message": message, "code": 75, "waits": "for SIGTERM"}
    file = write_job()
    process = finetune.start(*arguments(file), trainer={"prepare": PREPARED, "launch": launch})
    wait_for(file.parent / "out" / STATE / "launch.log", "stand-in launch")
    process.send_signal(number)
    out, err = process.communicate(timeout=30)
    assert (process.returncode, err) == (75, "")
    assert "Stopping: saving a checkpoint" in out
    assert "checkpoint of step 12 is saved. The same command goes on from there." in out


def test_breaking_off_twice_kills_a_trainer_that_does_not_end(
    finetune: CommandLine, write_job: WriteJob
) -> None:
    file = write_job()
    launch = {"waits": "forever"}
    process = finetune.start(*arguments(file), trainer={"prepare": PREPARED, "launch": launch})
    wait_for(file.parent / "out" / STATE / "launch.log", "stand-in launch")
    process.send_signal(signal.SIGINT)
    time.sleep(0.5)
    assert process.poll() is None
    process.send_signal(signal.SIGINT)
    out, _ = process.communicate(timeout=30)
    assert process.returncode == 75
    assert "no checkpoint yet" in out


def test_a_second_run_of_the_same_job_is_refused(
    finetune: CommandLine, write_job: WriteJob
) -> None:
    file = write_job()
    trainer = {"prepare": {**PREPARED, "waits": "for SIGTERM"}}
    first = finetune.start(*arguments(file), trainer=trainer)
    wait_for(file.parent / "out" / STATE / "prepare.log", "stand-in prepare")
    second = finetune.run(*arguments(file), trainer=trainer)
    assert second.returncode == 2
    assert "another `finetune run` of this job is at work" in second.stderr
    first.send_signal(signal.SIGINT)
    first.communicate(timeout=30)
    assert first.returncode == 75


def test_addresses_must_be_given_for_each_source(
    finetune: CommandLine, write_job: WriteJob
) -> None:
    result = finetune.run(*arguments(write_job(), "--train", "a", "--train", "b"))
    assert result.returncode == 2
    assert "data.train has 1 sources and --train was given 2 times" in result.stderr


def test_a_job_for_accelerators_that_are_not_here_is_refused() -> None:
    resources = Resources(limits={"nvidia.com/gpu": "8"})
    with pytest.raises(UserError, match=r"asks for 8 accelerator.*nvidia\.com.*has 2"):
        refuse_missing_accelerators(resources, None, count=lambda _: 2)
    refuse_missing_accelerators(resources, 2, count=lambda _: 2)
    refuse_missing_accelerators(resources, None, count=lambda _: 8)
    refuse_missing_accelerators(Resources(limits={"cpu": "8"}), None, count=lambda _: 0)


def test_accelerators_are_counted_by_their_device_files(tmp_path: Path) -> None:
    for name in ("nvidia0", "nvidia1", "nvidiactl", "nvidia-uvm", "null"):
        (tmp_path / name).touch()
    assert count_accelerators("nvidia.com", tmp_path) == 2
    assert count_accelerators("amd.com", tmp_path) == 0
    assert count_accelerators("example.com", tmp_path) == 0
