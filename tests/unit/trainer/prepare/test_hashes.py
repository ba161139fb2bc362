"""Work is done again exactly when something that matters changed."""

import hashlib
import json
from typing import Any

import pytest
from finetune_api.errors import UserError
from finetune_api.manifest import Manifest
from finetune_api.messages import PrepareMessage
from finetune_api.reasons import Reason
from finetune_api.status import PreparedStatus
from finetune_trainer.prepared_files import METADATA_FILE, TRAIN_FILE

from tests.unit.trainer.prepare.conftest import World, WorldChange, good_rows


def status(message: PrepareMessage) -> PreparedStatus:
    assert message.prepared is not None
    return message.prepared


def source(world: World, **options: Any) -> dict[str, Any]:
    return {"train": [{"uri": (world.root / "rows.jsonl").as_uri(), **options}]}


def test_the_same_job_reads_no_row_twice(world: World) -> None:
    first = world.prepare()
    assert world.reads()

    second = world.prepare()

    assert not world.reads()
    assert second == first


@pytest.mark.parametrize("name", [METADATA_FILE, TRAIN_FILE])
def test_damaged_prepared_data_is_made_anew(world: World, name: str) -> None:
    first = world.prepare()
    folder = world.output / "prepared" / status(first).data_hash[:32]
    (folder / name).write_text("{")

    assert world.prepare() == first
    assert world.reads()


def test_moving_data_and_model_changes_no_hash(world: World) -> None:
    first = status(world.prepare())
    world.rows("moved.jsonl", good_rows(40))
    world.model.rename(world.root / "elsewhere")

    moved = world.prepare(
        data={"train": [{"uri": (world.root / "moved.jsonl").as_uri()}]},
        model={"uri": (world.root / "elsewhere").as_uri()},
    )

    first_id = world.run_file().spec.model.id
    assert status(moved).data_hash == first.data_hash
    assert status(moved).recipe_hash == first.recipe_hash, first_id


@pytest.mark.parametrize(
    "changes",
    [
        {"workers": {"nodes": 4}},
        {"checkpoints": {"keep": 5}},
        {"evaluation": {"enabled": False}},
        {"training": {"sequenceLength": 512, "packing": False}},
    ],
)
def test_what_changes_no_result_changes_no_hash(world: World, changes: dict[str, Any]) -> None:
    assert status(world.prepare(**changes)) == status(world.prepare())


LEAKING = {"checks": {"leakage": "Report"}}
"""The evaluation rows stand among the training rows."""


def test_weights_change_the_recipe_the_epoch_and_no_token(world: World) -> None:
    other = world.rows("other.jsonl", [{"prompt": f"{n}?", "completion": "x"} for n in range(9)])

    def mixed(weight: str) -> PrepareMessage:
        train = [*source(world, weight=weight)["train"], {"uri": other, "weight": "1"}]
        evaluation = [{"uri": world.rows("dev.jsonl", good_rows(2))}]
        return world.prepare(
            data={"train": train, "evaluation": evaluation, "mixing": "Interleave", **LEAKING}
        )

    first = mixed("1")
    assert world.reads()
    second = mixed("2")

    assert not world.reads()
    assert status(first).data_hash == status(second).data_hash
    assert status(first).recipe_hash != status(second).recipe_hash
    assert first.data is not None
    assert second.data is not None
    assert first.data.rows == second.data.rows == 49
    assert first.data.tokens < second.data.tokens


def test_what_the_report_alone_tells_of_makes_it_anew(world: World) -> None:
    first = status(world.prepare(data=source(world)))
    domain = [{"uri": world.rows("domain.jsonl", [{"text": "What is asked, and why."}])}]

    licensed = status(world.prepare(data=source(world, license="Apache-2.0")))
    near = status(world.prepare(data=source(world) | {"domainText": domain}))

    assert len({each.data_hash for each in (first, licensed, near)}) == 3
    assert len({each.recipe_hash for each in (first, licensed, near)}) == 1


def test_the_column_that_rows_are_grouped_by_decides_the_split(world: World) -> None:
    grouped = world.prepare(data=source(world) | {"groupBy": "response"})
    first = world.prepare(data=source(world))

    assert status(grouped).data_hash != status(first).data_hash
    assert status(grouped).recipe_hash != status(first).recipe_hash


def test_the_learning_rate_changes_the_recipe_and_not_the_data(world: World) -> None:
    first = status(world.prepare())

    second = status(world.prepare(training={"sequenceLength": 512, "learningRate": "1e-3"}))

    assert second.data_hash == first.data_hash
    assert second.recipe_hash != first.recipe_hash


@pytest.mark.parametrize(
    "changes",
    [
        {"training": {"sequenceLength": 511}},
        {"training": {"sequenceLength": 512, "seed": 1}},
        {"training": {"sequenceLength": 512, "lossOn": "All"}},
        {"data": {"evaluationFraction": "0.1"}},
        {"data": {"checks": {"maxInvalidRows": 1}}},
    ],
)
def test_what_changes_rows_or_tokens_changes_both_hashes(
    world: World, changes: dict[str, Any]
) -> None:
    first = status(world.prepare())
    if "data" in changes:
        changes = {"data": {**source(world), **changes["data"]}}

    second = status(world.prepare(**changes))

    assert second.data_hash != first.data_hash
    assert second.recipe_hash != first.recipe_hash


@pytest.mark.parametrize("options", [{"format": "Instruction"}, {"template": "{{ instruction }}!"}])
def test_reading_rows_in_another_way_changes_the_data(
    world: World, options: dict[str, Any]
) -> None:
    first = status(world.prepare())

    assert status(world.prepare(data=source(world, **options))).data_hash != first.data_hash


def change_rows(world: World) -> None:
    world.rows("rows.jsonl", [*good_rows(39), {"instruction": "a", "response": "b"}])


def change_template(world: World) -> None:
    path = world.model / "chat_template.jinja"
    path.write_text(path.read_text() + "{# another #}")


def change_weights(world: World) -> None:
    (world.model / "model.safetensors").write_bytes(b"other weights")


@pytest.mark.parametrize(
    ("change", "data_too"), [(change_rows, True), (change_template, True), (change_weights, False)]
)
def test_changed_content_changes_the_hashes(
    world: World, change: WorldChange, data_too: bool
) -> None:
    first = status(world.prepare())
    change(world)

    second = status(world.prepare())

    assert (second.data_hash != first.data_hash) == data_too
    assert second.recipe_hash != first.recipe_hash


def publish(world: World, recipe_hash: str, data_hash: str) -> bytes:
    """Put a manifest where the job's pointer lies; returns its bytes."""
    run_uri = (world.output / "team" / "job" / "runs" / "old").as_uri()
    manifest = Manifest(
        job_uid="other",
        run_uri=run_uri,
        result_uri=f"{run_uri}/adapter",
        base_model="base",
        recipe_hash=recipe_hash,
        data_hash=data_hash,
        versions={},
        created_at="2026-01-01T00:00:00Z",
        steps=1,
        files=[],
    )
    text = json.dumps(manifest.to_wire()).encode()
    path = world.output / "team" / "job" / "manifest.json"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(text)
    return text


def test_a_result_of_the_same_recipe_and_data_is_adopted(world: World) -> None:
    made = status(world.prepare())
    text = publish(world, made.recipe_hash, made.data_hash)

    message = world.prepare()

    assert message.reason is Reason.ALREADY_PUBLISHED
    assert message.adopted is not None
    run = world.output / "team" / "job" / "runs" / "old"
    assert message.adopted.uri == (run / "adapter").as_uri()
    assert (run / "manifest.json").read_bytes() == text
    assert message.adopted.manifest_sha256 == hashlib.sha256(text).hexdigest()


@pytest.mark.parametrize("stage", ["Data", "Baseline"])
def test_a_job_that_stops_early_neither_adopts_a_result_nor_minds_another(
    world: World, stage: str
) -> None:
    made = status(world.prepare())
    for recipe_hash in (made.recipe_hash, "f" * 64):
        publish(world, recipe_hash, made.data_hash)

        message = world.prepare(stopAfter=stage)

        assert message.reason is Reason.DATA_READY
        assert (message.adopted, message.prepared) == (None, made)


@pytest.mark.parametrize("manifest", ["another recipe", "no manifest"])
def test_another_result_is_not_overwritten(world: World, manifest: str) -> None:
    text = publish(world, "f" * 64, "f" * 64)
    path = world.output / "team" / "job" / "manifest.json"
    if manifest == "no manifest":
        text = b"{}"
        path.write_bytes(text)

    with pytest.raises(UserError, match="onExisting to Replace") as caught:
        world.prepare()

    assert caught.value.reason is Reason.OUTPUT_TAKEN
    assert caught.value.where == path.as_uri()
    assert not world.reads()
    assert path.read_bytes() == text


def test_replace_goes_on_and_leaves_the_pointer_for_publishing(world: World) -> None:
    text = publish(world, "f" * 64, "f" * 64)

    message = world.prepare(output={"uri": world.output.as_uri(), "onExisting": "Replace"})

    assert message.reason is Reason.DATA_READY
    assert (world.output / "team" / "job" / "manifest.json").read_bytes() == text
