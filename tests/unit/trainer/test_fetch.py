"""Model and data come to a pod's disk: what is fetched, what is shown, what is refused."""

import json
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor, wait
from pathlib import Path
from threading import Event
from typing import Any

import pytest
from finetune_api.errors import InfrastructureError, InterruptedRunError, UserError
from finetune_api.exits import ExitCode
from finetune_api.progress import PROGRESS_FILE, Stage
from finetune_api.reasons import Reason
from finetune_api.runfile import RunFile
from finetune_trainer.engine.distributed import Comm
from finetune_trainer.model_check import check_model
from finetune_trainer.progress import ProgressWriter
from finetune_trainer.pulse import Known, Pulse, prepare_pulses, read_beats
from finetune_trainer.stages.context import Run, open_run
from finetune_trainer.stages.fetch import fetch, is_loaded
from finetune_trainer.storage import open_store, retry
from torch._C._distributed_c10d import HashStore
from transformers import AutoModelForCausalLM

from tests.unit.trainer.engine_support import Sandbox
from tests.unit.trainer.storage.hub_server import MAIN, Hub, running_hub

MODEL = f"hf://tests/tiny@{MAIN}"


@pytest.fixture(scope="module")
def sandbox(tmp_path_factory: pytest.TempPathFactory) -> Sandbox:
    return Sandbox.make(tmp_path_factory.mktemp("fetch"))


@pytest.fixture
def hub(sandbox: Sandbox, monkeypatch: pytest.MonkeyPatch) -> Iterator[Hub]:
    monkeypatch.setattr(retry, "BASE_SECONDS", 0.01)
    with running_hub() as made:
        monkeypatch.setenv("HF_ENDPOINT", made.endpoint)
        monkeypatch.setenv("HF_TOKEN", "hf_any")
        repository = made.add_folder("tests/tiny", sandbox.root / "model")
        repository.revisions[MAIN] |= {"README.md": b"#", "pytorch_model.bin": b"pickle"}
        yield made


def run_of(sandbox: Sandbox, folder: Path, digest: str | None = None) -> Run:
    """One process's run of a job whose model lies on the hub."""
    path = sandbox.run_file("from-hub", model={"uri": MODEL})
    file = RunFile.load(path)
    assert file.prepared is not None
    prepared = file.prepared.model_copy(update={"model_digest": digest})
    store = open_store(file.spec.storage, allow_loopback=True)
    return open_run(
        file.model_copy(update={"prepared": prepared}),
        Comm.alone(),
        store,
        folder,
        ProgressWriter(folder / PROGRESS_FILE),
        Known(),
    )


def test_a_model_of_the_hub_is_checked_and_fetched_as_one_in_s3(
    sandbox: Sandbox, hub: Hub, tmp_path: Path
) -> None:
    store = open_store(RunFile.load(sandbox.run_file("x")).spec.storage, allow_loopback=True)
    checked = check_model(store, MODEL, tmp_path / "checked", 32)
    small = [path for path in hub.paths() if "/resolve/" in path]
    run = run_of(sandbox, tmp_path, checked.digest)

    fetched = fetch(run)

    assert not any(path.endswith("model.safetensors") for path in small)
    assert fetched.model == tmp_path / "model"
    assert AutoModelForCausalLM.from_pretrained(fetched.model).num_parameters() > 1000
    assert not (fetched.model / "pytorch_model.bin").exists()
    assert len(fetched.prepared.train) == 40


def test_the_share_of_bytes_is_shown_until_the_next_stage(
    sandbox: Sandbox, hub: Hub, tmp_path: Path
) -> None:
    run = run_of(sandbox, tmp_path)

    def shown() -> tuple[Any, ...]:
        progress = json.loads((tmp_path / PROGRESS_FILE).read_text())
        return progress["stage"], progress["percent"], progress["stagePercent"]

    run.enter(Stage.FETCHING)
    assert shown() == ("Fetching", 0, None)
    fetch(run)
    assert shown() == ("Fetching", 0, 100)
    run.enter(Stage.BASELINE)
    assert shown() == ("Baseline", 0, None)


def test_a_pod_that_fetched_first_rests_until_the_slowest_has_fetched(
    sandbox: Sandbox, hub: Hub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    runs = [run_of(sandbox, tmp_path / name) for name in ("fast", "slow")]
    meeting, slow_may_end = HashStore(), Event()
    for rank, run in enumerate(runs):
        run.comm.rank, run.comm.world_size, run.comm._store = rank, 2, meeting
        prepare_pulses(run.work)
        run.comm.pulse = Pulse(run.work, rank)

    def hand_over_late(model: Path, *_: object) -> None:
        if model.is_relative_to(runs[1].work):
            slow_may_end.wait(60)

    monkeypatch.setattr("finetune_trainer.stages.fetch.hand_over", hand_over_late)

    def fast_rests() -> bool:
        return any(beat.resting for beat in read_beats(runs[0].work))

    with ThreadPoolExecutor() as pool:
        fast, slow = (pool.submit(fetch, run) for run in runs)
        wait([fast, slow], timeout=3)
        waited = not fast.done() and fast_rests()
        slow_may_end.set()
        assert fast.result(60).start == slow.result(60).start
    assert waited
    assert not fast_rests()


def test_a_request_to_stop_does_not_wait_for_a_hub_that_is_away(
    sandbox: Sandbox, hub: Hub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(retry, "backoff", lambda _: 1000.0)
    hub.failures = [502] * 10
    run = run_of(sandbox, tmp_path)
    run.comm.stop.is_set = True

    with pytest.raises(InterruptedRunError):
        fetch(run)

    assert not (tmp_path / "model").exists()


def test_another_model_than_was_prepared_for_is_refused(
    sandbox: Sandbox, hub: Hub, tmp_path: Path
) -> None:
    with pytest.raises(UserError, match="changed since the job was prepared") as caught:
        fetch(run_of(sandbox, tmp_path, digest="0" * 64))

    assert caught.value.reason is Reason.MODEL_INVALID
    assert caught.value.where == MODEL


def test_weights_that_arrive_damaged_are_left_to_the_next_attempt(
    sandbox: Sandbox, hub: Hub, tmp_path: Path
) -> None:
    hub.spoiled = True

    with pytest.raises(InfrastructureError, match="damaged") as caught:
        fetch(run_of(sandbox, tmp_path))

    assert caught.value.where == f"{MODEL}/model.safetensors"


def test_a_whole_run_starts_from_the_hub(sandbox: Sandbox, hub: Hub) -> None:
    path = sandbox.run_file(
        "hub-run",
        model={"uri": MODEL},
        training={"maxSteps": 1},
        evaluation={"enabled": False},
    )

    ended = sandbox.launch(path, HF_ENDPOINT=hub.endpoint, HF_HUB_OFFLINE="1")

    assert ended.code == ExitCode.DONE, ended.log
    assert ended.message.output is not None
    assert ended.message.output.base_model == "tests/tiny"


@pytest.mark.parametrize(
    ("name", "loaded"),
    [
        ("config.json", True),
        ("model-00001-of-00002.safetensors", True),
        ("tokenizer.model", True),
        ("additional_chat_templates/tool_use.jinja", True),
        ("pytorch_model.bin", False),
        ("consolidated.safetensors", False),
        ("consolidated.00.pth", False),
        ("original/model.safetensors", False),
        ("onnx/model.onnx", False),
        ("model-q4.gguf", False),
    ],
)
def test_only_what_a_model_is_loaded_from_is_fetched(name: str, loaded: bool) -> None:
    assert is_loaded(name) is loaded
