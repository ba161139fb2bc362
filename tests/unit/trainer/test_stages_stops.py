"""Stops in the middle of every phase that does not do steps, as SIGTERM to this process.

What must hold of each: the run ends as interrupted, no step that was done is done again, and the
next run publishes a whole result under one manifest.
"""

import hashlib
import os
import signal
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from finetune_api.errors import InterruptedRunError, UserError
from finetune_api.exits import Outcome
from finetune_api.manifest import Manifest
from finetune_api.messages import LaunchMessage
from finetune_api.reasons import Reason
from finetune_api.runfile import RunFile
from finetune_trainer.engine.distributed import Comm
from finetune_trainer.engine.interrupt import StopFlag
from finetune_trainer.engine.scoring import measure_split
from finetune_trainer.pulse import Known
from finetune_trainer.stages import merging, publish, reward, sequence, train
from finetune_trainer.stages.context import open_run
from finetune_trainer.stages.result import save_result
from finetune_trainer.stages.sequence import run_stages
from finetune_trainer.storage import open_store
from finetune_trainer.storage.files import FileStore

from tests.unit.trainer.engine_support import Sandbox, make_prepared, make_split, mixed_lengths

TRAINING = {"maxSteps": 4, "globalBatchSize": 8, "gradientCheckpointing": False}
ADAPTER = {"rank": 2, "dropout": "0"}
LONG_SECONDS = 60
"""What is cut short would take as long."""
AT_ONCE_SECONDS = 30
"""A whole run that is cut short takes less."""


@dataclass(frozen=True)
class Jobs:
    """Runs jobs of a sandbox through all stages in this process, which is asked to stop."""

    sandbox: Sandbox

    def run(self, name: str, **spec: Any) -> LaunchMessage:
        """An incarnation of the job; raises InterruptedRunError when it is asked to stop."""
        wish = {"training": TRAINING, "adapter": ADAPTER, **spec}
        run_file = RunFile.load(self.sandbox.run_file(name, **wish))
        store = open_store(run_file.spec.storage, allow_loopback=True)
        work = self.sandbox.root / f"work-{name}"
        work.mkdir(exist_ok=True)
        stop = StopFlag()
        stop.listen()
        return run_stages(open_run(run_file, Comm.alone(stop), store, work, None, Known()))

    def stopped(self, name: str, **spec: Any) -> InterruptedRunError:
        """How an incarnation ended that was asked to stop; nothing is published."""
        with pytest.raises(InterruptedRunError, match="asked to stop") as caught:
            self.run(name, **spec)
        assert not (self.sandbox.job_folder(name) / "manifest.json").exists()
        return caught.value

    def published(self, name: str) -> Manifest:
        """The one manifest of the job, whose every file lies there as it says."""
        path = self.sandbox.job_folder(name) / "manifest.json"
        manifest = Manifest.model_validate_json(path.read_bytes())
        root = Path(manifest.run_uri.removeprefix("file://"))
        for record in manifest.files:
            assert hashlib.sha256((root / record.path).read_bytes()).hexdigest() == record.sha256
        return manifest


@pytest.fixture(autouse=True)
def handlers() -> Iterator[None]:
    before = {number: signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGINT)}
    yield
    for number, handler in before.items():
        signal.signal(number, handler)


@pytest.fixture(scope="module")
def jobs(tmp_path_factory: pytest.TempPathFactory) -> Jobs:
    return Jobs(Sandbox.make(tmp_path_factory.mktemp("sandbox")))


def ask_to_stop() -> None:
    os.kill(os.getpid(), signal.SIGTERM)


def stop_and_hang(*_: Any, **__: Any) -> None:
    """Work of a library in the middle of which SIGTERM comes."""
    ask_to_stop()
    time.sleep(LONG_SECONDS)


def train_again(*_: Any) -> None:
    raise AssertionError("trained again")


def stop_before(real: Callable[..., Any]) -> Callable[..., Any]:
    def work(*arguments: Any, **named: Any) -> Any:
        ask_to_stop()
        return real(*arguments, **named)

    return work


def stop_at_upload(monkeypatch: pytest.MonkeyPatch, ending: str) -> None:
    """Ask to stop while an object whose address ends like this is uploaded."""
    real = FileStore.upload

    def upload(store: FileStore, path: Path, uri: str) -> None:
        if uri.endswith(ending):
            ask_to_stop()
        real(store, path, uri)

    monkeypatch.setattr(FileStore, "upload", upload)


def merged(jobs: Jobs) -> dict[str, Any]:
    return {"output": {"uri": (jobs.sandbox.root / "store").as_uri(), "merged": True}}


def test_a_stop_cuts_the_loading_of_the_model_short(
    jobs: Jobs, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patch:
        patch.setattr(sequence, "load_model", stop_and_hang)
        began = time.monotonic()
        jobs.stopped("loading")
        assert time.monotonic() - began < AT_ONCE_SECONDS
    assert jobs.run("loading").outcome is Outcome.DONE
    assert jobs.published("loading").steps == 4


def test_a_stop_while_the_trained_model_is_loaded_again_trains_no_step_again(
    jobs: Jobs, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patch:
        stop_at_upload(patch, "/adapter_model.safetensors")
        jobs.stopped("loading-again")
    monkeypatch.setattr(sequence, "train", train_again)
    with monkeypatch.context() as patch:
        patch.setattr(sequence, "load_result", stop_and_hang)
        jobs.stopped("loading-again")
    assert jobs.run("loading-again").outcome is Outcome.DONE
    assert jobs.published("loading-again").steps == 4


def test_a_stop_cuts_the_merging_of_the_start_adapter_short(
    jobs: Jobs, monkeypatch: pytest.MonkeyPatch
) -> None:
    jobs.run("parent")
    wish = {
        "model": {"uri": jobs.sandbox.job_folder("parent").as_uri()},
        "adapter": {**ADAPTER, "from": "Merge"},
    }
    with monkeypatch.context() as patch:
        patch.setattr(merging, "merge_folders", stop_and_hang)
        began = time.monotonic()
        jobs.stopped("merging", **wish)
        assert time.monotonic() - began < AT_ONCE_SECONDS
    with monkeypatch.context() as patch:  # half of what was merged lies in the store
        stop_at_upload(patch, "/base/config.json")
        jobs.stopped("merging", **wish)
    assert jobs.run("merging", **wish).outcome is Outcome.DONE
    manifest = jobs.published("merging")
    assert manifest.steps == 4
    assert manifest.base_uri == f"{manifest.run_uri}/base"


def test_a_stop_cuts_the_merging_of_the_result_short_and_no_step_is_done_again(
    jobs: Jobs, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patch:
        patch.setattr(publish, "merge_folders", stop_and_hang)
        began = time.monotonic()
        jobs.stopped("merged", **merged(jobs))
        assert time.monotonic() - began < AT_ONCE_SECONDS
    monkeypatch.setattr(sequence, "train", train_again)
    assert jobs.run("merged", **merged(jobs)).outcome is Outcome.DONE
    manifest = jobs.published("merged")
    assert manifest.steps == 4
    assert manifest.merged_uri is not None


@pytest.mark.parametrize("ending", ["/README.md", "/model/model.safetensors"])
def test_after_a_stop_between_two_files_the_next_run_publishes_all_of_them(
    jobs: Jobs, monkeypatch: pytest.MonkeyPatch, ending: str
) -> None:
    name = f"between-{len(ending)}"
    with monkeypatch.context() as patch:
        stop_at_upload(patch, ending)
        jobs.stopped(name, **merged(jobs))
    (left,) = jobs.sandbox.job_folder(name).rglob(ending.rpartition("/")[2])
    monkeypatch.setattr(sequence, "train", train_again)
    message = jobs.run(name, **merged(jobs))
    assert message.outcome is Outcome.DONE
    manifest = jobs.published(name)
    assert manifest.run_uri not in left.as_uri()
    assert manifest.steps == 4
    names = {record.path for record in manifest.files}
    assert names >= {"README.md", "adapter/adapter_model.safetensors", "model/model.safetensors"}
    assert names >= {"report/metrics.jsonl", "report/report.json"}


def test_a_stop_during_the_last_file_of_a_result_still_publishes_it(
    jobs: Jobs, monkeypatch: pytest.MonkeyPatch
) -> None:
    stop_at_upload(monkeypatch, "/report/report.json")
    assert jobs.run("last-file").outcome is Outcome.DONE
    assert jobs.published("last-file").steps == 4


def test_a_stop_after_the_last_step_first_saves_what_was_trained(
    jobs: Jobs, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patch:
        patch.setattr(train, "save_result", stop_before(save_result))
        jobs.stopped("after-training")
    monkeypatch.setattr(sequence, "train", train_again)
    assert jobs.run("after-training").outcome is Outcome.DONE
    assert jobs.published("after-training").steps == 4


def test_a_stop_while_rewards_are_measured_trains_no_step_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    jobs = Jobs(Sandbox.make(tmp_path))
    pairs, held_out = (make_split(mixed_lengths(size), rows_per_unit=2) for size in (40, 8))
    make_prepared(tmp_path / "prepared", pairs, held_out)
    with monkeypatch.context() as patch:
        patch.setattr(reward, "measure_split", stop_before(measure_split))
        jobs.stopped("rewards", method="Reward")
    monkeypatch.setattr(sequence, "train", train_again)
    assert jobs.run("rewards", method="Reward").outcome is Outcome.DONE
    names = {record.path for record in jobs.published("rewards").files}
    assert "adapter/reward.json" in names


@pytest.mark.parametrize("step", [2, 4])
def test_a_stop_in_an_evaluation_on_the_way_takes_it_from_no_run(
    jobs: Jobs, monkeypatch: pytest.MonkeyPatch, step: int
) -> None:
    """It counts for the choice of the best step, so it is done when the run goes on."""
    wish = {"training": {**TRAINING, "evalEverySteps": 2}, "checkpoints": {"best": {}}}
    jobs.run("undisturbed", **wish)
    name, due = f"evaluation-{step}", iter(range(2, step + 2, 2))

    def measured(*arguments: Any, **named: Any) -> dict[str, float]:
        if next(due) == step:
            ask_to_stop()
        return measure_split(*arguments, **named)

    with monkeypatch.context() as patch:
        patch.setattr(train, "measure_split", measured)
        jobs.stopped(name, **wish)
    jobs.run(name, **wish)
    found = [
        [(line["step"], line.get("loss"), line.get("evaluation")) for line in lines]
        for lines in (jobs.sandbox.metrics(name), jobs.sandbox.metrics("undisturbed"))
    ]
    assert found[0] == found[1]
    assert jobs.published(name).published_step == jobs.published("undisturbed").published_step


def test_what_a_library_makes_of_its_end_is_told_as_a_stop() -> None:
    def load() -> None:
        try:
            stop_and_hang()
        except BaseException as error:
            raise OSError from error

    stop = StopFlag()
    stop.listen()
    with pytest.raises(InterruptedRunError), Comm.alone(stop).cut_short_by_stop():
        load()


def test_an_error_of_work_that_nobody_asked_to_stop_stays_what_it_is() -> None:
    with pytest.raises(UserError), Comm.alone().cut_short_by_stop():
        raise UserError(Reason.MODEL_INVALID, "the model cannot be loaded")


def test_work_that_may_be_cut_short_does_not_begin_after_a_stop() -> None:
    stop = StopFlag()
    stop.is_set = True
    with pytest.raises(InterruptedRunError), Comm.alone(stop).cut_short_by_stop():
        pytest.fail("began")
