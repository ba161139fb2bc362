"""Models on the Hugging Face Hub are read as those in S3 are."""

import hashlib
from collections.abc import Iterator
from pathlib import Path

import pytest
from finetune_api.errors import FineTuneError, InfrastructureError, UserError
from finetune_api.reasons import Reason
from finetune_api.spec import Storage
from finetune_trainer.storage import PreconditionFailed, Store, hub, open_store, retry

from tests.unit.trainer.storage.hub_server import MAIN, Hub, running_hub

MODEL = "hf://org/model"
WEIGHTS = bytes(range(256)) * 40
FILES = {
    "config.json": b"{}",
    "model.safetensors": WEIGHTS,
    "sub folder/x.json": b"[]",
}
OLDER = "b" * 40


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[Hub]:
    monkeypatch.setattr(retry, "BASE_SECONDS", 0.01)
    monkeypatch.setattr(hub, "PART_SIZE", 4096)
    for name in ("HF_TOKEN", "HUGGING_FACE_HUB_TOKEN"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr("huggingface_hub.constants.HF_TOKEN_PATH", str(tmp_path / "no-token"))
    with running_hub() as made:
        monkeypatch.setenv("HF_ENDPOINT", made.endpoint)
        yield made


@pytest.fixture
def store(server: Hub) -> Store:
    server.add("org/model", FILES).revisions[OLDER] = {"config.json": b"older"}
    return open_store(Storage(), allow_loopback=True)


def refused(store: Store, uri: str) -> FineTuneError:
    with pytest.raises(FineTuneError) as caught:
        store.read(uri)
    assert caught.value.where == uri
    return caught.value


@pytest.mark.parametrize("uri", [MODEL, f"{MODEL}/", f"{MODEL}@main", f"{MODEL}@{MAIN}"])
def test_all_files_are_listed_with_digests_that_come_from_their_content(
    store: Store, uri: str
) -> None:
    found = {info.uri.removeprefix(uri.rstrip("/") + "/"): info for info in store.list(uri)}

    assert found.keys() == FILES.keys()
    weights = found["model.safetensors"]
    assert (weights.size, weights.etag) == (len(WEIGHTS), hashlib.sha256(WEIGHTS).hexdigest())
    blob = hashlib.sha1(b"blob 2\0{}").hexdigest()
    assert (found["config.json"].size, found["config.json"].etag) == (2, blob)


def test_files_have_addresses_of_the_form_that_was_asked_for(store: Store) -> None:
    for uri in (MODEL, f"{MODEL}@main", f"{MODEL}@{MAIN}"):
        assert {info.uri for info in store.list(uri)} == {f"{uri}/{path}" for path in FILES}


def test_a_file_is_read_at_the_revision_of_its_address(store: Store) -> None:
    assert store.read(f"{MODEL}/config.json") == b"{}"
    assert store.read(f"{MODEL}/sub folder/x.json") == b"[]"
    assert store.read(f"{MODEL}@{OLDER}/config.json") == b"older"
    assert store.stat(f"{MODEL}@{OLDER}/model.safetensors") is None


def test_weights_come_in_ranges_from_the_storage_which_gets_no_token(
    store: Store, server: Hub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HF_TOKEN", "hf_secret")

    store.download(f"{MODEL}/model.safetensors", tmp_path / "weights")

    assert (tmp_path / "weights").read_bytes() == WEIGHTS
    to_storage = [headers for path, headers in server.asked if "signed" in path]
    assert {headers["range"] for headers in to_storage} == {
        "bytes=0-3412",
        "bytes=3413-6825",
        "bytes=6826-10239",
    }
    assert not any("authorization" in headers for headers in to_storage)
    to_hub = [headers for path, headers in server.asked if "signed" not in path]
    assert all(headers["authorization"] == "Bearer hf_secret" for headers in to_hub)


def test_a_branch_that_moves_meanwhile_does_not_mix_two_versions(
    store: Store, server: Hub, tmp_path: Path
) -> None:
    infos = list(store.list(MODEL))
    server.repositories["org/model"].revisions["main"] = {"config.json": b"newer"}

    for info in infos:
        store.download(info.uri, tmp_path / info.uri.rpartition("/")[2], info.etag)

    assert (tmp_path / "config.json").read_bytes() == b"{}"
    assert {path.split("/")[4] for path in server.paths() if "/resolve/" in path} == {MAIN}


def test_weights_that_arrive_damaged_do_not_appear(
    store: Store, server: Hub, tmp_path: Path
) -> None:
    server.spoiled = True

    with pytest.raises(PreconditionFailed):
        store.download(f"{MODEL}/model.safetensors", tmp_path / "weights")

    assert list(tmp_path.iterdir()) == []


def test_a_hub_that_is_busy_for_a_moment_is_asked_again(
    store: Store, server: Hub, tmp_path: Path
) -> None:
    server.failures = [503, 429]
    assert len(list(store.list(MODEL))) == len(FILES)

    server.failures = [500]
    store.download(f"{MODEL}/config.json", tmp_path / "config.json")

    assert (tmp_path / "config.json").read_bytes() == b"{}"


def test_a_hub_that_stays_away_is_an_error_of_the_infrastructure(store: Store, server: Hub) -> None:
    server.failures = [502] * retry.ATTEMPTS

    error = refused(store, f"{MODEL}/config.json")

    assert isinstance(error, InfrastructureError)
    assert error.reason is Reason.STORAGE_UNAVAILABLE
    assert "502" in error.message
    assert "HF_ENDPOINT" in error.message


def test_a_hub_that_nobody_answers_for_is_unreachable(
    server: Hub, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HF_ENDPOINT", "http://127.0.0.1:9")

    error = refused(open_store(Storage(), allow_loopback=True), f"{MODEL}/config.json")

    assert error.reason is Reason.STORAGE_UNAVAILABLE
    assert "check that pods reach it" in error.message


@pytest.mark.parametrize(
    ("uri", "reason", "said"),
    [
        ("hf://org/none/x", Reason.STORAGE_NOT_FOUND, "shows no repository org/none"),
        (f"{MODEL}@v2/x", Reason.STORAGE_NOT_FOUND, "no commit, tag or branch v2"),
        (f"{MODEL}/x", Reason.STORAGE_NOT_FOUND, "org/model has no such file at main"),
        ("hf://org/a--b/x", Reason.INVALID_SPEC, "hf://ORG/NAME@REVISION"),
    ],
)
def test_what_is_not_there_is_named(store: Store, uri: str, reason: Reason, said: str) -> None:
    error = refused(store, uri)

    assert isinstance(error, UserError)
    assert error.reason is reason
    assert said in error.message


def test_a_private_repository_needs_a_token(
    store: Store, server: Hub, monkeypatch: pytest.MonkeyPatch
) -> None:
    server.add("org/private", FILES, token="hf_good")

    error = refused(store, "hf://org/private/config.json")
    assert error.reason is Reason.STORAGE_NOT_FOUND
    assert "if it is private, put a token as HF_TOKEN in the Secret" in error.message

    monkeypatch.setenv("HF_TOKEN", "hf_good")
    assert store.read("hf://org/private/config.json") == b"{}"


def test_a_gated_repository_says_whose_terms_to_accept(
    store: Store, server: Hub, monkeypatch: pytest.MonkeyPatch
) -> None:
    server.add("org/gated", FILES, gated=True, token="hf_good")
    uri = "hf://org/gated/config.json"

    error = refused(store, uri)
    assert error.reason is Reason.CREDENTIALS_MISSING
    assert "accept them on the hub" in error.message
    assert "storage.credentialsSecretName" in error.message

    monkeypatch.setenv("HF_TOKEN", "hf_other")
    error = refused(store, uri)
    assert error.reason is Reason.STORAGE_DENIED
    assert "has no access to org/gated" in error.message

    monkeypatch.setenv("HF_TOKEN", "hf_good")
    assert store.read(uri) == b"{}"


@pytest.mark.usefixtures("server")
def test_a_hub_on_the_pod_itself_is_refused() -> None:
    with pytest.raises(UserError) as caught:
        open_store(Storage(), allow_loopback=False).read(f"{MODEL}/x")

    assert caught.value.reason is Reason.INVALID_SPEC
    assert caught.value.where == "HF_ENDPOINT in podTemplate.env"


def test_an_address_on_the_hub_is_leave_to_read_from_it(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)

    assert store.stat(f"{MODEL}/config.json") is not None


def test_an_answer_that_is_not_the_hubs_is_an_error_of_the_infrastructure(
    store: Store, server: Hub, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tests.unit.trainer.storage.hub_server._sibling", lambda *_: {"x": 1})

    error = refused(store, f"{MODEL}/config.json")

    assert error.reason is Reason.STORAGE_UNAVAILABLE
    assert "incomplete" in error.message


def test_nothing_is_written_to_the_hub(store: Store, tmp_path: Path) -> None:
    (tmp_path / "up").write_bytes(b"x")
    for write in (
        lambda: store.write(f"{MODEL}/x", b""),
        lambda: store.upload(tmp_path / "up", f"{MODEL}/x"),
        lambda: store.delete(f"{MODEL}/x"),
    ):
        with pytest.raises(UserError, match="write s3://BUCKET/KEY"):
            write()
