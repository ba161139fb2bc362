"""Whole runs of every kind of adapter and start model, through all stages in this process."""

import contextlib
import json
import os
import re
import warnings
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import torch
from finetune_api.errors import InterruptedRunError, UserError
from finetune_api.manifest import Manifest
from finetune_api.messages import LaunchMessage
from finetune_api.reasons import Reason
from finetune_api.runfile import RunFile
from finetune_api.spec import Storage
from finetune_trainer.engine.distributed import Comm
from finetune_trainer.engine.interrupt import interrupted
from finetune_trainer.pulse import Known
from finetune_trainer.stages import merging, publish, sequence
from finetune_trainer.stages.context import open_run
from finetune_trainer.stages.sequence import run_stages
from finetune_trainer.start_files import find_record
from finetune_trainer.storage import Store, open_store

from tests.unit.trainer.engine_support import Sandbox, cross_entropy, make_split, mixed_lengths

TRAIN, HELD_OUT = make_split(mixed_lengths(40)), make_split(mixed_lengths(8), seed=9)
WHOLE = {"maxSteps": 3, "globalBatchSize": 40, "gradientCheckpointing": False, "warmupRatio": "0"}
"""Every step sees all rows."""


@pytest.fixture(scope="module")
def sandbox(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Sandbox]:
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield Sandbox.make(tmp_path_factory.mktemp("sandbox"))
    torch.set_num_threads(before)


@pytest.fixture(scope="module")
def store() -> Store:
    return open_store(Storage(), allow_loopback=True)


@dataclass(frozen=True)
class Ran:
    """A finished run."""

    job: Path
    """The job's folder."""
    message: LaunchMessage
    manifest: Manifest

    @property
    def run(self) -> Path:
        return path_of(self.manifest.run_uri)

    @property
    def config(self) -> dict[str, Any]:
        document: dict[str, Any] = json.loads(
            (self.run / "adapter/adapter_config.json").read_text()
        )
        return document

    def entropy(self, when: str) -> float:
        assert self.message.evaluation is not None
        return float(getattr(self.message.evaluation, when).cross_entropy)


def run_job(
    sandbox: Sandbox,
    name: str,
    adapter: dict[str, Any],
    start: Path | None = None,
    *,
    recipe: str = "a",
    **spec: Any,
) -> Ran:
    """Run the job `name` from `start`, a model of the sandbox when absent."""
    model = {"uri": (start or sandbox.root / "model").as_uri()}
    file = sandbox.run_file(
        name,
        recipe=recipe,
        model=model,
        adapter=adapter if adapter.get("type") == "None" else {"dropout": "0", **adapter},
        **{"training": WHOLE, **spec},
    )
    work = sandbox.root / f"work-{name}"
    work.mkdir(exist_ok=True)
    run_file = RunFile.load(file)
    store = open_store(run_file.spec.storage, allow_loopback=True)
    message = run_stages(open_run(run_file, Comm.alone(), store, work, None, Known()))
    job = sandbox.job_folder(name)
    manifest = Manifest.model_validate_json((job / "manifest.json").read_bytes())
    return Ran(job, message, manifest)


def path_of(uri: str | None) -> Path:
    assert uri is not None
    return Path(uri.removeprefix("file://"))


def loaded_by_the_card(run: Path) -> list[Any]:
    """The models that the lines in README.md load, run where it says."""
    blocks = re.findall(r"```python\n(.*?)```", (run / "README.md").read_text(), re.DOTALL)
    models = []
    with contextlib.chdir(run), warnings.catch_warnings():
        warnings.filterwarnings("ignore", "`is_gradient_checkpointing`", FutureWarning)
        for block in blocks:
            assert len(block.splitlines()) == 3
            names: dict[str, Any] = {}
            exec(block, names)
            assert names["tokenizer"]("w5")["input_ids"] == [5]
            models.append(names["model"].eval())
    return models


def losses(ran: Ran) -> list[float]:
    lines = (ran.run / "report/metrics.jsonl").read_text().splitlines()
    return [json.loads(line)["loss"] for line in lines]


TYPES: dict[str, dict[str, Any]] = {
    "lora": {"type": "LoRA", "rank": 4},
    "rslora": {"type": "RsLoRA", "rank": 4, "rankPattern": {"*.layers.0.*": 2}},
    "dora": {"type": "DoRA", "rank": 4, "targetModules": ["q_proj", "model.layers.*.mlp.*"]},
    "none": {"type": "None"},
}


@pytest.fixture(scope="module")
def runs(sandbox: Sandbox) -> dict[str, Ran]:
    """A run of every type, from the model."""
    return {name: run_job(sandbox, name, adapter) for name, adapter in TYPES.items()}


@pytest.mark.parametrize("name", TYPES)
def test_every_type_trains_and_loads_by_the_lines_of_its_card(
    sandbox: Sandbox, runs: dict[str, Ran], name: str
) -> None:
    ran = runs[name]
    assert ran.message.reason is Reason.PUBLISHED
    assert losses(ran)[-1] < losses(ran)[0]
    (model,) = loaded_by_the_card(ran.run)
    assert cross_entropy(model, HELD_OUT) == pytest.approx(ran.entropy("after"), abs=2e-5)
    assert ran.manifest.base_uri == (sandbox.root / "model").as_uri()


def test_what_a_server_would_refuse_stands_in_card_report_and_manifest(
    runs: dict[str, Ran],
) -> None:
    assert runs["lora"].manifest.notes == []
    assert "Before serving" not in (runs["lora"].run / "README.md").read_text()
    dora = runs["dora"]
    assert ["DoRA" in note for note in dora.manifest.notes] == [True]
    for file in ("README.md", "report/report.json"):
        assert dora.manifest.notes[0] in (dora.run / file).read_text()


@pytest.mark.parametrize("name", ["lora", "rslora", "dora"])
@pytest.mark.parametrize("kind", ["job", "adapter"])
def test_continue_starts_where_the_adapter_ended(
    sandbox: Sandbox, runs: dict[str, Ran], name: str, kind: str
) -> None:
    parent = runs[name]
    start = parent.job if kind == "job" else path_of(parent.manifest.result_uri)
    child = run_job(sandbox, f"{name}-{kind}", {}, start)
    assert child.entropy("before") == pytest.approx(parent.entropy("after"), abs=1e-5)
    (model,) = loaded_by_the_card(parent.run)
    assert losses(child)[0] == pytest.approx(cross_entropy(model, TRAIN), abs=1e-5)
    assert losses(child)[-1] < losses(child)[0]
    (model,) = loaded_by_the_card(child.run)
    assert cross_entropy(model, HELD_OUT) == pytest.approx(child.entropy("after"), abs=2e-5)
    shape = ("r", "lora_alpha", "use_dora", "use_rslora", "rank_pattern")
    assert [child.config[key] for key in shape] == [parent.config[key] for key in shape]
    parents = [parent.uri for parent in child.manifest.parents]
    assert parents == ([parent.job.as_uri()] if kind == "job" else [])


@pytest.fixture(scope="module")
def merged_start(sandbox: Sandbox, runs: dict[str, Ran]) -> Ran:
    wish = {"type": "LoRA", "rank": 2, "from": "Merge"}
    return run_job(sandbox, "merged-start", wish, runs["dora"].job)


def test_merge_starts_a_new_adapter_on_the_old_one_merged(
    sandbox: Sandbox, runs: dict[str, Ran], merged_start: Ran
) -> None:
    assert merged_start.entropy("before") == pytest.approx(runs["dora"].entropy("after"), abs=1e-5)
    assert merged_start.config["r"] == 2
    base = merged_start.run / "base"
    assert merged_start.config["base_model_name_or_path"] == base.as_uri()
    assert "base/model.safetensors" in {record.path for record in merged_start.manifest.files}
    (model,) = loaded_by_the_card(merged_start.run)
    assert cross_entropy(model, HELD_OUT) == pytest.approx(merged_start.entropy("after"), abs=2e-5)


def test_an_adapter_on_a_merged_base_can_be_started_from(
    sandbox: Sandbox, merged_start: Ran
) -> None:
    child = run_job(sandbox, "grandchild", {}, merged_start.job)
    assert child.entropy("before") == pytest.approx(merged_start.entropy("after"), abs=1e-5)
    assert child.manifest.base_uri == (merged_start.run / "base").as_uri()
    assert len(child.manifest.parents) == 2


def test_two_processes_merge_once_and_train_as_one_does(
    sandbox: Sandbox, runs: dict[str, Ran], merged_start: Ran
) -> None:
    file = sandbox.run_file(
        "two",
        model={"uri": runs["dora"].job.as_uri()},
        adapter={"type": "LoRA", "rank": 2, "from": "Merge", "dropout": "0"},
        training=WHOLE,
        workers={"processesPerNode": 2},
    )
    ended = sandbox.launch(file)
    assert ended.code == 0, ended.log
    assert "stage Merging" in ended.log
    found = [line["loss"] for line in sandbox.metrics("two")]
    assert found == pytest.approx(losses(merged_start), abs=1e-5)


def test_full_weights_train_on_a_merged_start(sandbox: Sandbox, runs: dict[str, Ran]) -> None:
    parent = runs["lora"]
    child = run_job(sandbox, "full", {"type": "None", "from": "Merge"}, parent.job)
    assert child.entropy("before") == pytest.approx(parent.entropy("after"), abs=1e-5)
    assert losses(child)[-1] < losses(child)[0]


def test_a_run_goes_on_with_the_base_that_an_earlier_one_merged(
    sandbox: Sandbox, runs: dict[str, Ran], monkeypatch: pytest.MonkeyPatch
) -> None:
    def stop(*_: Any) -> None:
        raise interrupted("no step was under way")

    def merge_again(*_: Any) -> None:
        raise AssertionError

    wish = {"rank": 4, "from": "Merge"}
    with monkeypatch.context() as patch:
        patch.setattr(sequence, "measure", stop)
        with pytest.raises(InterruptedRunError):
            run_job(sandbox, "stopped", wish, runs["lora"].job)
    (first,) = sandbox.job_folder("stopped").rglob("base/model.safetensors")
    monkeypatch.setattr(merging, "merge_folders", merge_again)
    ran = run_job(sandbox, "stopped", wish, runs["lora"].job)
    second = ran.run / "base" / "model.safetensors"
    assert second != first
    assert second.read_bytes() == first.read_bytes()
    assert loaded_by_the_card(ran.run)


def test_merged_publishes_a_whole_model_with_the_same_logits(sandbox: Sandbox) -> None:
    ids = torch.arange(4, 30)[None]
    output = {"uri": (sandbox.root / "store").as_uri(), "merged": True}
    ran = run_job(sandbox, "merged", {"type": "DoRA", "rank": 4}, output=output)
    assert path_of(ran.manifest.merged_uri) == ran.run / "model"
    adapted, whole = loaded_by_the_card(ran.run)
    with torch.no_grad():
        one, other = adapted(input_ids=ids).logits, whole(input_ids=ids).logits
    torch.testing.assert_close(one, other, atol=1e-5, rtol=0)
    names = {record.path for record in ran.manifest.files}
    assert {f"model/{name}" for name in ("config.json", "tokenizer.json")} <= names


def test_a_published_job_gets_its_merged_model_without_training_again(
    sandbox: Sandbox, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = run_job(sandbox, "later", {"rank": 4})
    monkeypatch.setattr(sequence, "train", None)
    output = {"uri": (sandbox.root / "store").as_uri(), "merged": True}
    second = run_job(sandbox, "later", {"rank": 4}, output=output)
    assert second.run != first.run
    assert len(loaded_by_the_card(second.run)) == 2
    third = run_job(sandbox, "later", {"rank": 4}, output=output)
    assert third.manifest == second.manifest


def with_checkpoints(sandbox: Sandbox, name: str, retain: str) -> Ran:
    output = {"uri": (sandbox.root / "store").as_uri(), "retain": retain}
    return run_job(sandbox, name, {"rank": 2}, output=output, checkpoints={"everySteps": 1})


def checkpoints(job: Path) -> list[Path]:
    return sorted(path for path in job.rglob("checkpoints/*/*") if path.is_file())


def test_checkpoints_are_kept_or_removed_as_told(sandbox: Sandbox) -> None:
    kept = with_checkpoints(sandbox, "kept", "Checkpoints")
    assert len(checkpoints(kept.job)) == 6
    ran = with_checkpoints(sandbox, "removed", "Adapter")
    assert checkpoints(ran.job) == []
    for record in ran.manifest.files:
        assert (ran.run / record.path).stat().st_size == record.size


def test_a_death_while_checkpoints_are_removed_costs_nothing(
    sandbox: Sandbox, monkeypatch: pytest.MonkeyPatch
) -> None:
    def die(run: Any, _: Manifest) -> None:
        header = next(p for p in checkpoints(sandbox.job_folder("died")) if p.suffix == ".json")
        run.store.delete(header.as_uri())
        raise OSError("the node is gone")

    with monkeypatch.context() as patch:
        patch.setattr(publish, "remove_checkpoints", die)
        with pytest.raises(OSError, match="the node is gone"):
            with_checkpoints(sandbox, "died", "Adapter")
    assert checkpoints(sandbox.job_folder("died"))
    ran = with_checkpoints(sandbox, "died", "Adapter")
    assert ran.message.reason is Reason.PUBLISHED
    assert checkpoints(ran.job) == []
    assert loaded_by_the_card(ran.run)


def test_another_start_than_the_one_that_was_checked_is_not_trained(
    sandbox: Sandbox, store: Store, runs: dict[str, Ran]
) -> None:
    adapter = runs["rslora"].run / "adapter"
    uri = sandbox.job_folder("changed") / "runs/11111111/start.json"
    record = find_record(store, uri.as_uri(), "a" * 64, adapter.as_uri())
    store.write(uri.as_uri(), json.dumps(record.to_wire()).encode())
    weights = adapter / "adapter_model.safetensors"
    os.utime(weights, ns=(1, 1))
    with pytest.raises(UserError, match="changed since the job was prepared") as caught:
        run_job(sandbox, "changed", {}, adapter)
    assert caught.value.where == weights.as_uri()


def test_the_public_name_of_the_base_goes_along(sandbox: Sandbox) -> None:
    model = {"uri": (sandbox.root / "model").as_uri(), "id": "org/some-model"}
    file = sandbox.run_file("named", model=model, adapter={"rank": 2}, training=WHOLE)
    work = sandbox.root / "work-named"
    work.mkdir()
    run_file = RunFile.load(file)
    store = open_store(run_file.spec.storage, allow_loopback=True)
    run_stages(open_run(run_file, Comm.alone(), store, work, None, Known()))
    job = sandbox.job_folder("named")
    child = run_job(sandbox, "named-child", {}, job)
    assert child.config["base_model_name_or_path"] == "org/some-model"
    assert child.manifest.base_uri == (sandbox.root / "model").as_uri()
