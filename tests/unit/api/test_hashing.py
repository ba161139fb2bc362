"""The recipe hash is equal exactly for jobs that compute the same result."""

from collections.abc import Mapping
from typing import Any

import pytest
from finetune_api.hashing import canonical_digest, recipe_hash
from finetune_api.resolve import resolve, settle
from finetune_api.spec import FineTuneJobSpec

from tests.unit.api.jobs import document, job
from tests.unit.api.spec_walk import NOT_ALONE, Leaf, leaves, with_value

VERSION = "0.1.0"


class ByAddress(dict[str, str]):
    """Different content at every address."""

    def __missing__(self, uri: str) -> str:
        return f"content of {uri}"


def hash_of(spec: dict[str, Any], digests: Mapping[str, str] | None = None) -> str:
    resolved = resolve(FineTuneJobSpec.parse_wire(spec))
    return recipe_hash(resolved, digests if digests is not None else ByAddress(), VERSION)


LEAVES = list(leaves(FineTuneJobSpec))
VARIABLE = [leaf for leaf in LEAVES if leaf.path not in NOT_ALONE]


def test_the_walk_reaches_every_block_of_the_spec() -> None:
    blocks = {str(info.alias) for info in FineTuneJobSpec.model_fields.values()}
    assert {leaf.path[0] for leaf in LEAVES} == blocks
    assert all(leaf.values[0] != leaf.values[1] for leaf in VARIABLE)


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
    adapter = settle(resolved.adapter, starts_from_adapter=False, method=resolved.method)
    return recipe_hash(resolved.model_copy(update={"adapter": adapter}), ByAddress(), VERSION)


def test_writing_a_default_out_changes_nothing() -> None:
    written = {"type": "LoRA", "from": "New", "rank": 16, "alpha": 32, "dropout": "0.05"}
    written["targetModules"] = ["all-linear"]
    assert settled_hash(adapter=written) == settled_hash()
    assert settled_hash(adapter=written | {"rank": 8}) != settled_hash()


def test_the_digest_ignores_the_order_of_keys() -> None:
    assert canonical_digest({"a": 1, "b": 2}) == canonical_digest({"b": 2, "a": 1})
    assert canonical_digest({"a": 1}) != canonical_digest({"a": "1"})
