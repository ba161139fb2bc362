"""Jobs that stop after their baseline: the untouched model is measured, nothing else happens."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from finetune_api.errors import UserError
from finetune_api.exits import Outcome
from finetune_api.messages import LaunchMessage
from finetune_api.reasons import Reason
from finetune_api.runfile import RunFile
from finetune_api.status import Measurement
from finetune_trainer.engine.distributed import Comm
from finetune_trainer.pulse import Known
from finetune_trainer.stages import sequence
from finetune_trainer.stages.context import open_run
from finetune_trainer.stages.measure import measure as real_measure
from finetune_trainer.stages.sequence import run_stages
from finetune_trainer.storage import open_store

from tests.unit.trainer.engine_support import Sandbox

TRAINING = {"maxSteps": 3, "globalBatchSize": 8, "gradientCheckpointing": False}
Run = Callable[..., LaunchMessage]


@pytest.fixture(scope="module")
def sandbox(tmp_path_factory: pytest.TempPathFactory) -> Sandbox:
    return Sandbox.make(tmp_path_factory.mktemp("sandbox"))


@pytest.fixture
def run(sandbox: Sandbox, tmp_path: Path) -> Run:
    """Runs a job through its stages in this process."""

    def through(name: str, **spec: Any) -> LaunchMessage:
        run_file = RunFile.load(sandbox.run_file(name, training=TRAINING, **spec))
        store = open_store(run_file.spec.storage, allow_loopback=True)
        return run_stages(open_run(run_file, Comm.alone(), store, tmp_path, None, Known()))

    return through


def pointer(sandbox: Sandbox, name: str) -> Path:
    return sandbox.job_folder(name) / "manifest.json"


def test_the_untouched_model_is_measured_and_nothing_is_published(
    sandbox: Sandbox, run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    message = run("first", stopAfter="Baseline")
    assert (message.outcome, message.reason) == (Outcome.DONE, Reason.BASELINE_MEASURED)
    assert (message.output, message.last_step) == (None, None)
    evaluation = message.evaluation
    assert evaluation is not None
    assert evaluation.before is not None
    assert evaluation.after is None
    assert evaluation.question == "w5 w6 w7"
    assert list(sandbox.job_folder("first").rglob("manifest.json")) == []

    # The job that trains goes on from there.
    measured = []

    def measure(*arguments: Any) -> Measurement | None:
        measured.append(arguments[4])
        return real_measure(*arguments)

    monkeypatch.setattr(sequence, "measure", measure)
    trained = run("first")
    assert trained.reason is Reason.PUBLISHED
    assert trained.evaluation is not None
    assert trained.evaluation.before == evaluation.before
    assert measured == ["Evaluating"]
    assert pointer(sandbox, "first").exists()


def test_a_published_result_is_neither_measured_nor_adopted_nor_moved(
    sandbox: Sandbox, run: Run
) -> None:
    trained = run("published")
    assert trained.evaluation is not None
    before = pointer(sandbox, "published").read_bytes()
    message = run("published", stopAfter="Baseline")
    assert message.reason is Reason.BASELINE_MEASURED
    assert message.evaluation is not None
    assert message.evaluation.before == trained.evaluation.before
    assert pointer(sandbox, "published").read_bytes() == before
    other = run("published", recipe="b", stopAfter="Baseline")
    assert other.reason is Reason.BASELINE_MEASURED


def test_rows_without_anything_to_measure_are_the_users_error(
    run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sequence, "measure", lambda *_, **__: None)
    with pytest.raises(UserError, match="no held-out row can be measured") as caught:
        run("nothing", stopAfter="Baseline")
    assert caught.value.where == "spec.stopAfter"
