"""Generated specs: valid ones of every method, and ones with something wrong in them.

What is valid is told by the Python rules; whoever uses these asks the API server the same.
"""

import copy
from dataclasses import dataclass
from random import Random
from typing import Any

from finetune_api.schema import object_schema
from finetune_api.spec import FineTuneJobSpec
from finetune_api.validate import Problem, Target, examine

from tests.unit.api.jobs import Document
from tests.unit.api.spec_walk import Leaf, leaves, smallest, with_value

LEAVES = tuple(leaves(FineTuneJobSpec))
SCHEMA: Document = object_schema(FineTuneJobSpec)
STARTS = (("method",), ("cpt",), ("dpo",), ("kto",), ("orpo",), ("reward",), ("ppo",), ("grpo",))
"""Fields whose smallest spec is one of each method."""
MOST_CHANGES = 12
WRONG_TYPE: dict[str, tuple[Any, ...]] = {
    "string": (7, True, ["a"], {"a": "b"}),
    "integer": ("7", True, [7], "many"),
    "boolean": ("true", 1, "no"),
    "array": ({}, "a", 3),
    "object": ([], "a", 3),
}


@dataclass(frozen=True)
class Wrong:
    """A spec that must be refused, and the name of what is wrong in it."""

    spec: Document
    field: str
    """Wire name of the field at fault; empty where a rule between fields is broken."""
    problems: tuple[Problem, ...]


def job_of(spec: Document, name: str = "support", namespace: str = "team-a") -> Document:
    """A job with this spec."""
    return {
        "apiVersion": "finetune.dev/v1alpha1",
        "kind": "FineTuneJob",
        "metadata": {"name": name, "namespace": namespace},
        "spec": spec,
    }


def problems_of(spec: Document) -> tuple[Problem, ...]:
    """What the Python rules say of it."""
    return tuple(examine(job_of(spec), Target.CLUSTER)[1])


def valid_spec(random: Random) -> Document:
    """A valid spec: the smallest of a method with up to a dozen fields changed."""
    spec = smallest(random.choice(STARTS))
    for _ in range(random.randint(0, MOST_CHANGES)):
        changed = _changed(random, spec)
        if changed is not None and not problems_of(changed):
            spec = changed
    return spec


def wrong_spec(random: Random) -> Wrong:
    """A valid spec in which one thing was made wrong: a field's value, or a rule between fields."""
    while True:
        spec = valid_spec(random)
        if random.random() < 0.5:
            spoiled, field = _changed(random, spec), ""
        else:
            spoiled, field = _spoiled(random, spec)
        found = problems_of(spoiled) if spoiled is not None else ()
        if spoiled is not None and found:
            return Wrong(spoiled, field, found)


def _changed(random: Random, spec: Document) -> Document | None:
    """`spec` with another value in a random field; None where it has no place for that field."""
    leaf = random.choice(LEAVES)
    try:
        return with_value(leaf.path, _value(random, leaf), spec)
    except (TypeError, AttributeError, KeyError, IndexError):
        return None  # a neighbour that was spoiled or emptied before


def _value(random: Random, leaf: Leaf) -> Any:
    schema = schema_of(leaf)
    if "enum" in schema:
        return random.choice(schema["enum"])
    if schema.get("type") == "integer":
        low, high = schema["minimum"], schema["maximum"]
        return random.choice([low, high, random.randint(low, high), min(low + 1, high)])
    return random.choice(leaf.values)


def schema_of(leaf: Leaf) -> Document:
    """The structural schema of a field."""
    schema = SCHEMA
    for name in leaf.path:
        schema = schema.get("items", schema)["properties"][name]
    return schema


def _spoiled(random: Random, spec: Document) -> tuple[Document | None, str]:
    """`spec` with a value of the wrong kind, out of bounds or of an unknown name in a field."""
    leaf = random.choice(LEAVES)
    schema = schema_of(leaf)
    wrong: list[Any] = list(WRONG_TYPE.get(schema.get("type", ""), ()))
    if schema.get("type") == "integer":
        wrong += [schema["minimum"] - 1, schema["maximum"] + 1]
    if schema.get("type") == "string":
        wrong += ["x" * (schema["maxLength"] + 1)] if "enum" not in schema else ["Nonsense"]
    field = leaf.path[-1]
    if not wrong or random.random() < 0.2:
        field, wrong = f"{field}Typo", [leaf.values[0]]
    try:
        made = with_value(leaf.path, leaf.values[0], spec)
        place: Any = made
        for name in leaf.path[:-1]:
            place = place[name][0] if isinstance(place[name], list) else place[name]
        if field != leaf.path[-1]:
            place.pop(leaf.path[-1])
        place[field] = copy.deepcopy(random.choice(wrong))
    except (TypeError, AttributeError, KeyError, IndexError):
        return None, field
    return made, field
