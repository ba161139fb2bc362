"""The recipe hash is equal exactly for jobs that compute the same result."""

import copy
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from itertools import pairwise
from typing import Any, get_args

import pytest
from finetune_api.fields import RECIPE, ApiModel
from finetune_api.hashing import canonical_digest, recipe_hash
from finetune_api.resolve import resolve, settle
from finetune_api.schema import object_schema
from finetune_api.spec import FineTuneJobSpec

from tests.unit.api.jobs import document, job

VERSION = "0.1.0"


class ByAddress(dict[str, str]):
    """Different content at every address."""

    def __missing__(self, uri: str) -> str:
        return f"content of {uri}"


def hash_of(spec: dict[str, Any], digests: Mapping[str, str] | None = None) -> str:
    resolved = resolve(FineTuneJobSpec.parse_wire(spec))
    return recipe_hash(resolved, digests if digests is not None else ByAddress(), VERSION)


@dataclass(frozen=True)
class Leaf:
    """One field of the spec without fields of its own."""

    path: tuple[str, ...]
    """Wire names; lists of objects are entered at their first item."""
    recipe: bool
    values: tuple[Any, Any]


def leaves(model: type[ApiModel], path: tuple[str, ...] = ()) -> Iterator[Leaf]:
    schema = object_schema(model)["properties"]
    for info in model.model_fields.values():
        wire = str(info.alias)
        nested = model_in(info.annotation)
        if nested is not None:
            yield from leaves(nested, (*path, wire))
        else:
            yield Leaf((*path, wire), RECIPE in info.metadata, two_values(schema[wire]))


def model_in(annotation: Any) -> type[ApiModel] | None:
    if isinstance(annotation, type) and issubclass(annotation, ApiModel):
        return annotation
    return next(filter(None, map(model_in, get_args(annotation))), None)


def two_values(schema: dict[str, Any]) -> tuple[Any, Any]:
    kind = schema.get("type", "string")
    if kind == "boolean":
        return False, True
    if kind == "integer":
        return schema["minimum"], schema["minimum"] + 1
    if kind == "array":
        first, second = two_values(schema["items"])
        return [first], [second]
    if kind == "object":
        if "additionalProperties" not in schema:
            return {"any": 1}, {"any": 2}
        first, second = two_values(schema["additionalProperties"])
        return {"uri": first}, {"uri": second}
    if "enum" in schema:
        return schema["enum"][0], schema["enum"][-1]
    candidates = {"(s3:": "s3://b/k", "https?": "http://h", "[eE]": "0.25", "(m|k": "1"}
    for mark, first in candidates.items():
        if mark in schema.get("pattern", ""):
            return first, "0.125" if first == "0.25" else f"{first}1"
    return "a", "b"


NEEDS: dict[tuple[str, ...], dict[str, Any]] = {
    ("data", "train", "weight"): {"data": {"mixing": "Interleave"}},
    ("data", "mixingStop"): {"data": {"mixing": "Interleave"}},
    ("data", "train", "format"): {"method": "DPO"},
    ("data", "evaluation", "format"): {"method": "DPO"},
    ("cpt",): {"method": "CPT"},
    ("dpo",): {"method": "DPO"},
    ("training", "earlyStopping"): {"training": {"evalEverySteps": 1}},
    ("checkpoints", "best"): {"training": {"evalEverySteps": 1}, "method": "DPO"},
}
"""What else a job must say for a field, or any field below it, to be allowed."""
NOT_ALONE = {("data", "evaluation", "weight"), ("cpt", "replay", "format")}
"""Fields that have another value only where it is refused."""


def smallest(path: tuple[str, ...]) -> dict[str, Any]:
    """The smallest spec in which the field at `path` is allowed."""
    spec: dict[str, Any] = document()["spec"]
    for prefix, needed in NEEDS.items():
        if path[: len(prefix)] == prefix:
            for name, value in needed.items():
                spec[name] = {**spec.get(name, {}), **value} if isinstance(value, dict) else value
    return spec


def with_value(path: tuple[str, ...], value: Any) -> dict[str, Any]:
    """The smallest spec with `value` at `path`; required neighbours are filled in."""
    spec = smallest(path)
    model: type[ApiModel] = FineTuneJobSpec
    place: dict[str, Any] = spec
    for wire, following in pairwise(path):
        info = next(i for i in model.model_fields.values() if i.alias == wire)
        inner = model_in(info.annotation)
        assert inner is not None
        model = inner
        schema = object_schema(inner)
        required = {
            name: two_values(schema["properties"][name])[0]
            for name in schema.get("required", [])
            if name != following
        }
        listed = "list" in str(info.annotation)
        below = place.setdefault(wire, [required] if listed else required)
        place = below[0] if listed else below
    place[path[-1]] = copy.deepcopy(value)
    return spec


LEAVES = list(leaves(FineTuneJobSpec))
VARIABLE = [leaf for leaf in LEAVES if leaf.path not in NOT_ALONE]


def test_the_walk_reaches_every_block_of_the_spec() -> None:
    blocks = {str(info.alias) for info in FineTuneJobSpec.model_fields.values()}
    assert {leaf.path[0] for leaf in LEAVES} == blocks
    assert all(leaf.values[0] != leaf.values[1] for leaf in LEAVES)


@pytest.mark.parametrize("leaf", VARIABLE, ids=lambda leaf: ".".join(leaf.path))
def test_the_hash_changes_exactly_with_fields_of_the_recipe(leaf: Leaf) -> None:
    one, two = (hash_of(with_value(leaf.path, value)) for value in leaf.values)
    assert (one != two) is leaf.recipe


def test_moved_data_keeps_the_hash_and_changed_data_does_not() -> None:
    here = document()["spec"]
    there = document(model={"uri": "s3://elsewhere/m"}, data={"train": [{"uri": "s3://x/y"}]})
    model, rows = here["model"]["uri"], here["data"]["train"][0]["uri"]
    before = hash_of(here, {model: "m", rows: "r"})
    assert hash_of(there["spec"], {"s3://elsewhere/m": "m", "s3://x/y": "r"}) == before
    assert hash_of(here, {model: "m", rows: "r2"}) != before


def test_an_address_without_a_digest_is_a_fault_of_ours() -> None:
    with pytest.raises(KeyError):
        hash_of(document()["spec"], {})


def test_the_trainers_patch_level_does_not_count() -> None:
    spec = resolve(job().spec)
    hashes = [recipe_hash(spec, ByAddress(), v) for v in ("0.1.0", "0.1.9", "0.2.0", "1.1.0")]
    assert hashes[0] == hashes[1]
    assert len(set(hashes)) == 3


def settled_hash(**spec: Any) -> str:
    resolved = resolve(FineTuneJobSpec.parse_wire(document(**spec)["spec"]))
    adapter = settle(resolved.adapter, starts_from_adapter=False)
    return recipe_hash(resolved.model_copy(update={"adapter": adapter}), ByAddress(), VERSION)


def test_writing_a_default_out_changes_nothing() -> None:
    written = {"type": "LoRA", "from": "New", "rank": 16, "alpha": 32, "dropout": "0.05"}
    written["targetModules"] = ["all-linear"]
    assert settled_hash(adapter=written) == settled_hash()
    assert settled_hash(adapter=written | {"rank": 8}) != settled_hash()


def test_the_digest_ignores_the_order_of_keys() -> None:
    assert canonical_digest({"a": 1, "b": 2}) == canonical_digest({"b": 2, "a": 1})
    assert canonical_digest({"a": 1}) != canonical_digest({"a": "1"})
