"""How the process ends: exit code and termination message."""

import os
import signal
import urllib.error
import urllib.request
from pathlib import Path
from typing import Any

import pytest
from finetune_api.exits import ExitCode, Outcome
from finetune_api.messages import PrepareMessage, decode
from finetune_api.progress import PROGRESS_PORT_VARIABLE, Progress, Stage
from finetune_api.reasons import Reason
from finetune_api.runfile import TERMINATION_LOG_VARIABLE, WORK_DIR_VARIABLE
from finetune_trainer.preparation import process as prepare_process
from finetune_trainer.preparation import run as prepare
from finetune_trainer.preparation.process import prepare_main
from finetune_trainer.prepared_files import upload_prepared
from finetune_trainer.storage import PreconditionFailed

from devcluster.ports import free_ports
from tests.unit.trainer.prepare.conftest import World

ROW_VALUE = "a value of a row"


@pytest.fixture
def process(world: World, monkeypatch: pytest.MonkeyPatch) -> Any:
    """Run the process over a job; returns (exit code, message)."""
    monkeypatch.setenv(WORK_DIR_VARIABLE, str(world.root / "scratch"))
    monkeypatch.setenv(TERMINATION_LOG_VARIABLE, str(world.root / "log"))
    monkeypatch.setenv(PROGRESS_PORT_VARIABLE, "0")
    before = signal.getsignal(signal.SIGTERM)

    def run(text: str | None = None) -> tuple[int, PrepareMessage]:
        path = world.root / "run.json"
        path.write_text(world.run_file().dump() if text is None else text)
        code = prepare_main(path)
        message = decode(PrepareMessage, (world.root / "log").read_text())
        assert message is not None
        return code, message

    yield run
    signal.signal(signal.SIGTERM, before)


def test_success_is_zero_with_the_place_of_the_tokens(process: Any) -> None:
    code, message = process()

    assert code == ExitCode.DONE
    assert message.prepared is not None
    assert message.data is not None
    assert message.data.rows == 32


def test_bad_rows_are_the_users_error(process: Any, world: World) -> None:
    uri = world.rows("rows.jsonl", [{"instruction": "x", "response": "y"}, {"instruction": "x"}])

    code, message = process()

    assert code == ExitCode.USER_ERROR
    assert (message.outcome, message.reason) == (Outcome.USER_ERROR, Reason.INVALID_DATA)
    assert message.where == f"{uri}:2"
    assert message.data.first_errors[0].field == "response"


def test_how_far_it_is_can_be_asked_meanwhile(
    process: Any, world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    (port,) = free_ports(1)
    monkeypatch.setenv(PROGRESS_PORT_VARIABLE, str(port))
    heard = []
    real = upload_prepared

    def upload(*arguments: Any) -> None:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/progress", timeout=5) as answer:
            heard.append(Progress.model_validate_json(answer.read()))
        real(*arguments)

    monkeypatch.setattr(prepare, "upload_prepared", upload)

    code, _ = process()

    assert code == ExitCode.DONE
    assert [(each.stage, each.stage_percent) for each in heard] == [(Stage.PREPARING, 100)]
    with pytest.raises(urllib.error.URLError):
        urllib.request.urlopen(f"http://127.0.0.1:{port}/progress", timeout=5)


@pytest.mark.parametrize(
    ("error", "killed"), [(MemoryError(), 0), (RuntimeError("a worker died"), 1)]
)
def test_memory_that_runs_out_names_the_limit_to_raise(
    process: Any, monkeypatch: pytest.MonkeyPatch, error: Exception, killed: int
) -> None:
    kills = iter((0, killed))

    def fail(*_: Any) -> None:
        raise error

    monkeypatch.setattr(prepare, "check_model", fail)
    monkeypatch.setattr(prepare_process, "oom_kills", lambda: next(kills))

    code, message = process()

    assert (code, message.reason) == (ExitCode.OUT_OF_MEMORY, Reason.OUT_OF_MEMORY)
    assert "preparation.resources.limits.memory" in message.message


def test_a_run_file_that_is_none_is_an_internal_error(process: Any) -> None:
    code, message = process("{}")

    assert code == ExitCode.INTERNAL
    assert message.reason is Reason.INTERNAL_ERROR


def test_an_unforeseen_fault_is_internal_and_shows_no_text_of_rows(
    process: Any, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    def fail(*_: Any) -> None:
        raise KeyError(ROW_VALUE)

    monkeypatch.setattr(prepare, "check_model", fail)

    code, message = process()

    assert (code, message.outcome) == (ExitCode.INTERNAL, Outcome.INTERNAL)
    assert "KeyError" in message.message
    out = capfd.readouterr()
    assert "in fail" in out.err
    assert ROW_VALUE not in out.out + out.err


def test_an_object_that_changes_while_it_is_fetched_is_left_to_the_next_attempt(
    process: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: Any) -> None:
        raise PreconditionFailed("s3://bucket/model/config.json")

    monkeypatch.setattr(prepare, "check_model", fail)

    code, message = process()

    assert code == ExitCode.INFRASTRUCTURE
    assert message.reason is Reason.STORAGE_UNAVAILABLE
    assert message.where == "s3://bucket/model/config.json"


def test_sigterm_ends_it_as_interrupted_and_leaves_no_scratch(
    process: Any, world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    def stop(*_: Any) -> None:
        os.kill(os.getpid(), signal.SIGTERM)

    monkeypatch.setattr(prepare, "read_pointer", lambda *_, **__: stop())

    code, message = process()

    assert code == ExitCode.INTERRUPTED
    assert message.reason is Reason.INTERRUPTED
    assert list(Path(world.root / "scratch").iterdir()) == []
