"""model.uri is followed to a base and at most one adapter, and both are checked on CPUs."""

import hashlib
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from finetune_api.errors import UserError
from finetune_api.exits import Outcome
from finetune_api.manifest import Manifest, Origin
from finetune_api.messages import PrepareMessage
from finetune_api.reasons import Reason
from finetune_api.spec import Storage
from finetune_api.status import ParentRole, ParentStatus
from finetune_trainer.start import MAX_HOPS, resolve_start
from finetune_trainer.start_files import (
    StartRecord,
    checked_files,
    chosen,
    find_record,
    weights_digest,
)
from finetune_trainer.start_files import list_folder as listed
from finetune_trainer.storage import Store, open_store
from transformers import LlamaConfig, LlamaForCausalLM

from tests.unit.trainer.adapters_support import configure, make_adapter
from tests.unit.trainer.prepare.conftest import CONFIG, World, good_rows

NAME = "org/some-model"


@pytest.fixture
def store() -> Store:
    return open_store(Storage(), allow_loopback=False)


@pytest.fixture(scope="session")
def adapter_folder(tmp_path_factory: pytest.TempPathFactory, model_folder: Path) -> Path:
    """An adapter on a model of the world's configuration, of rank 4 and alpha 8."""
    base = tmp_path_factory.mktemp("base")
    LlamaForCausalLM(LlamaConfig(**{**CONFIG, "num_key_value_heads": 4})).save_pretrained(base)
    return make_adapter(base, tmp_path_factory.mktemp("adapter"), NAME)


@pytest.fixture
def adapter(world: World, adapter_folder: Path) -> Path:
    """The adapter with its base's address."""
    folder = world.root / "adapter"
    folder.mkdir()
    for path in adapter_folder.iterdir():
        (folder / path.name).write_bytes(path.read_bytes())
    configure(folder, base_model_name_or_path=world.model.as_uri())
    return folder


def publish(folder: Path, result: Path, **more: Any) -> Path:
    """A job's folder whose manifest points at `result`."""
    manifest = Manifest(
        job_uid="uid",
        run_uri=folder.as_uri(),
        result_uri=result.as_uri(),
        base_model="base",
        recipe_hash="a" * 64,
        data_hash="d" * 64,
        versions={},
        created_at="2026-01-01T00:00:00Z",
        steps=1,
        files=[],
        **more,
    )
    folder.mkdir(exist_ok=True)
    (folder / "manifest.json").write_text(json.dumps(manifest.to_wire()))
    return folder


def write_origin(world: World, adapter: Path, store: Store) -> None:
    digest = weights_digest(listed(store, world.model.as_uri()))
    origin = Origin(base_uri=world.model.as_uri(), base_digest=digest, recipe_hash="a" * 64)
    (adapter / "origin.json").write_text(json.dumps(origin.to_wire()))


def prepare(world: World, start: Path, **changes: Any) -> PrepareMessage:
    return world.prepare(model={"uri": start.as_uri()}, **changes)


def refused(world: World, start: Path, **changes: Any) -> UserError:
    with pytest.raises(UserError) as caught:
        prepare(world, start, **changes)
    assert not world.reads()
    return caught.value


def test_a_job_folder_leads_to_its_adapter_and_that_to_its_base(
    world: World, adapter: Path, store: Store
) -> None:
    older = publish(world.root / "older", world.model)
    grandparents = resolve_start(store, older.as_uri()).parents
    job = publish(world.root / "published", adapter, parents=list(grandparents))
    start = resolve_start(store, f"{job.as_uri()}/")
    assert start.adapter_uri == adapter.as_uri()
    assert start.model_uri == world.model.as_uri()
    assert [parent.uri for parent in start.parents] == [job.as_uri(), older.as_uri()]
    assert resolve_start(store, adapter.as_uri()).adapter_uri == adapter.as_uri()
    assert resolve_start(store, older.as_uri()).adapter_uri is None


def pinned(role: ParentRole, folder: Path) -> list[dict[str, str]]:
    """What a run file says of the job whose run is `folder`."""
    digest = hashlib.sha256((folder / "manifest.json").read_bytes()).hexdigest()
    parent = ParentStatus(
        role=role, name="sft", uid="uid", uri=folder.as_uri(), manifest_sha256=digest
    )
    return [parent.to_wire()]


def test_a_job_starts_from_what_its_parent_had_published_when_it_was_pinned(
    world: World, adapter: Path
) -> None:
    run = publish(world.root / "published", adapter)
    world.parents = pinned(ParentRole.MODEL, run)
    assert prepare(world, run).outcome is Outcome.DONE

    publish(world.root / "published", world.model)

    error = refused(world, run)
    assert error.reason is Reason.MODEL_INVALID
    assert error.where == run.as_uri()
    assert "is not what job sft had published" in error.message


def test_a_pinned_parent_is_the_job_that_was_pinned_and_no_model_beside_it(world: World) -> None:
    run = publish(world.root / "published", world.model)
    world.parents = pinned(ParentRole.MODEL, run)
    assert "is not what job sft" in refused(world, world.model).message


def test_the_record_beside_an_adapter_says_where_a_named_base_lies(
    world: World, adapter: Path, store: Store
) -> None:
    configure(adapter, base_model_name_or_path=NAME)
    error = refused(world, adapter)
    assert error.reason is Reason.MODEL_INVALID
    assert "give the folder of the job that made it" in error.message
    write_origin(world, adapter, store)
    assert prepare(world, adapter).reason is Reason.DATA_READY


def test_a_base_that_was_written_anew_is_not_trained_on(
    world: World, adapter: Path, store: Store
) -> None:
    write_origin(world, adapter, store)
    (world.model / "generation_config.json").write_text("{}")
    prepare(world, adapter)
    (world.model / "model.safetensors").write_bytes(b"other weights")
    error = refused(world, adapter)
    assert "is not the base that the adapter" in error.message
    assert error.where == world.model.as_uri()


def loop(world: World, adapter: Path) -> None:
    configure(adapter, base_model_name_or_path=publish(world.root / "loop", adapter).as_uri())


def tower(world: World, adapter: Path) -> None:
    second = world.root / "second"
    second.mkdir()
    for path in adapter.iterdir():
        (second / path.name).write_bytes(path.read_bytes())
    configure(adapter, base_model_name_or_path=second.as_uri())


def long_way(world: World, adapter: Path) -> None:
    target = world.model
    for number in range(MAX_HOPS):
        target = publish(world.root / f"hop{number}", target)
    configure(adapter, base_model_name_or_path=target.as_uri())


@pytest.mark.parametrize(
    ("change", "told"),
    [
        (loop, "leads back to itself"),
        (tower, "merge it into its own base first"),
        (long_way, f"more than {MAX_HOPS} addresses"),
    ],
)
def test_a_chain_that_ends_in_no_model_is_refused(
    world: World, adapter: Path, change: Callable[[World, Path], None], told: str
) -> None:
    change(world, adapter)
    assert told in refused(world, adapter).message


class InBucket:
    """The file system as a bucket would show it."""

    def __init__(self, store: Store) -> None:
        self._store = store

    def stat(self, uri: str) -> Any:
        return self._store.stat(uri.replace("s3://", "file:///"))

    def read(self, uri: str, max_bytes: int = 2**20) -> bytes:
        return self._store.read(uri.replace("s3://", "file:///"), max_bytes)


def test_an_adapter_in_a_bucket_cannot_make_a_pod_read_its_disk(
    adapter: Path, store: Store
) -> None:
    bucket: Any = InBucket(store)
    with pytest.raises(UserError, match="no address in a store"):
        resolve_start(bucket, "s3:/" + str(adapter))


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"peft_type": "PREFIX_TUNING"}, "only LORA adapters"),
        ({"auto_mapping": {"base_model_class": "X", "parent_library": "theirs"}}, "not run"),
        ({"modules_to_save": ["lm_head"]}, "uses modules_to_save"),
        ({"init_lora_weights": "pissa"}, "uses init_lora_weights"),
        ({"use_dora": True, "use_rslora": True}, "together"),
        ({"r": "many"}, "no whole rank"),
        ({"r": 8}, "tensors differ, the first is base_model.model.model.layers.0"),
        ({"target_modules": ["nowhere"]}, "the base has not all of its layers"),
        ({"target_modules": ["q_proj"]}, "no such layer"),
    ],
)
def test_an_adapter_that_cannot_be_continued_is_refused(
    world: World, adapter: Path, changes: dict[str, Any], told: str
) -> None:
    configure(adapter, **changes)
    error = refused(world, adapter)
    assert error.reason is Reason.MODEL_INVALID
    assert told in error.message


def test_pickled_adapters_and_mixed_folders_are_refused(world: World, adapter: Path) -> None:
    (adapter / "model.safetensors").write_bytes(b"")
    assert "put them into two folders" in refused(world, adapter).message
    (adapter / "model.safetensors").unlink()
    (adapter / "adapter_model.safetensors").rename(adapter / "adapter_model.bin")
    assert "pickled" in refused(world, adapter).message


@pytest.mark.parametrize(
    ("wish", "told"),
    [
        ({"from": "New"}, "write Continue to train it further, or Merge"),
        ({"type": "None"}, "write Merge"),
        ({"rank": 8}, "remove rank, or write from: Merge"),
        ({"type": "DoRA", "alpha": 9}, "remove type, alpha,"),
        ({"targetModules": ["q_proj"]}, "remove targetModules,"),
        ({"rankPattern": {"q_proj": 2}}, "remove rankPattern,"),
        ({"from": "Merge", "targetModules": ["*.nowhere"]}, "no linear layer named *.nowhere"),
    ],
)
def test_a_wish_that_does_not_go_with_the_start_adapter_is_refused(
    world: World, adapter: Path, wish: dict[str, Any], told: str
) -> None:
    error = refused(world, adapter, adapter=wish)
    assert error.reason is Reason.INVALID_SPEC
    assert told in error.message


def test_layers_that_the_model_does_not_have_are_named_before_training(world: World) -> None:
    error = refused(world, world.model, adapter={"targetModules": ["model.layers.[5-9].*"]})
    assert error.where == "spec.adapter.targetModules"
    assert "it has down_proj, gate_proj" in error.message
    assert "no adapter to Merge" in refused(world, world.model, adapter={"from": "Merge"}).message


TRL = {"engine": "TRL", "packing": False, "sequenceLength": 512}


def test_an_adapter_on_the_head_is_refused_with_trl(world: World) -> None:
    wish = {"targetModules": ["q_proj", "lm_head"]}
    error = refused(world, world.model, adapter=wish, training=TRL)
    assert error.reason is Reason.INVALID_SPEC
    assert error.where == "spec.adapter.targetModules"
    assert "(lm_head) over: train other layers, or write Native" in error.message
    assert prepare(world, world.model, adapter=wish).prepared is not None
    assert prepare(world, world.model, adapter={"type": "None"}, training=TRL).prepared


def test_a_continued_adapter_on_the_head_is_refused_with_trl(
    world: World, adapter: Path, tmp_path: Path
) -> None:
    assert prepare(world, adapter, training=TRL).prepared is not None
    base = tmp_path / "base"
    LlamaForCausalLM(LlamaConfig(**{**CONFIG, "num_key_value_heads": 4})).save_pretrained(base)
    name, layers = world.model.as_uri(), ["q_proj", "lm_head"]
    on_head = make_adapter(base, tmp_path / "on-head", name, target_modules=layers)
    assert "(lm_head) over" in refused(world, on_head, training=TRL).message
    assert prepare(world, on_head).prepared is not None


def test_the_settings_of_a_continued_adapter_are_told(world: World, adapter: Path) -> None:
    message = prepare(world, adapter)
    assert message.adapter is not None
    assert message.adapter.to_wire() == {
        "type": "LoRA",
        "from": "Continue",
        "rank": 4,
        "alpha": 8,
        "dropout": "0.05",
    }


def test_the_recipe_is_of_the_content_and_not_of_the_way_to_it(world: World, adapter: Path) -> None:
    def recipe(start: Path, **wish: Any) -> str:
        prepared = prepare(world, start, adapter=wish).prepared
        assert prepared is not None
        return prepared.recipe_hash

    first = recipe(adapter)
    assert recipe(publish(world.root / "published", adapter)) == first
    same = {"type": "LoRA", "from": "Continue", "rank": 4, "targetModules": ["all-linear"]}
    assert recipe(adapter, **same) == first
    assert recipe(adapter, **{"from": "Merge"}) != first
    assert recipe(world.model) != first
    make_different(adapter)
    assert recipe(adapter) != first


def make_different(adapter: Path) -> None:
    path = adapter / "adapter_model.safetensors"
    path.write_bytes(path.read_bytes()[:-4] + b"\x00\x00\x80\x3f")


def test_an_adapters_own_tokenizer_and_template_win(world: World, adapter: Path) -> None:
    base = prepare(world, adapter).prepared
    (adapter / "chat_template.jinja").write_text(
        (world.model / "chat_template.jinja").read_text() + "{# another #}"
    )
    other = prepare(world, adapter).prepared
    assert base is not None
    assert other is not None
    assert base.data_hash != other.data_hash
    assert base.data_hash == _data_hash(prepare(world, world.model))


def _data_hash(message: PrepareMessage) -> str:
    assert message.prepared is not None
    return message.prepared.data_hash


def test_the_trainer_can_tell_that_a_file_changed_since(
    world: World, adapter: Path, store: Store
) -> None:
    world.rows("rows.jsonl", good_rows(40))
    prepare(world, adapter)
    (path,) = world.output.rglob("start.json")
    record = StartRecord.model_validate_json(path.read_bytes())
    assert record.adapter_uri == adapter.as_uri()
    files = chosen(listed(store, adapter.as_uri()), ("adapter_*",))
    found = checked_files(store, adapter.as_uri(), record.adapter_files)
    with pytest.raises(UserError, match="changed since the job was prepared"):
        find_record(store, path.as_uri(), "f" * 64, adapter.as_uri())
    assert find_record(store, path.as_uri(), record.recipe_hash, "file:///nowhere") == record
    assert [info.uri for info in found] == sorted(info.uri for info in files.values())
    make_different(adapter)
    with pytest.raises(UserError, match="changed since the job was prepared"):
        checked_files(store, adapter.as_uri(), record.adapter_files)
