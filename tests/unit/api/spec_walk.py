"""Walks the fields of the spec: every leaf, two values of it, and a spec that holds one."""

import copy
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import pairwise
from typing import Any, get_args

from finetune_api.fields import RECIPE, ApiModel
from finetune_api.schema import object_schema
from finetune_api.spec import FineTuneJobSpec

from tests.unit.api.jobs import document


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
            place = (*path, wire)
            values = VALUES.get(place) or two_values(schema[wire])
            yield Leaf(place, RECIPE in info.metadata, values)


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


VALUES: dict[tuple[str, ...], tuple[Any, Any]] = {
    ("method",): ("SFT", "DPO"),
    ("grpo", "rewardFunctions", "type"): ("ExactAnswer", "JsonValid"),
    ("data", "checks", "language"): ("Report", "Fail"),
    ("data", "checks", "languages"): (["de"], ["en"]),
    ("cpt", "replay", "format"): ("Text", "Document"),
}
"""Of fields whose first or last value needs another field."""
ONLINE: dict[str, Any] = {
    "method": "GRPO",
    "grpo": {"maxNewTokens": 8, "rewardFunctions": [{"type": "JsonValid"}]},
}
"""The least that a job says whose model answers itself."""
JUDGED: dict[str, Any] = {
    "method": "PPO",
    "rewardModel": {"uri": "s3://models/judge"},
    "ppo": {"maxNewTokens": 8},
}
"""The same where a reward model scores the answers."""
NEEDS: dict[tuple[str, ...], dict[str, Any]] = {
    ("data", "train", "weight"): {"data": {"mixing": "Interleave"}},
    ("data", "mixingStop"): {"data": {"mixing": "Interleave"}},
    ("data", "checks", "language"): {"data": {"checks": {"languages": ["en"]}}},
    ("data", "train", "format"): ONLINE,
    ("data", "evaluation", "format"): ONLINE,
    ("model", "fromJob"): {"model": {"uri": None}},
    ("cpt",): {"method": "CPT"},
    ("dpo",): {"method": "DPO"},
    ("kto",): {"method": "KTO"},
    ("orpo",): {"method": "ORPO"},
    ("reward",): {"method": "Reward"},
    ("reward", "margin"): {
        "data": {"train": [{"uri": "s3://data/support.jsonl", "format": "Ranking"}]}
    },
    ("rewardModel",): ONLINE,
    ("grpo",): ONLINE,
    ("ppo",): JUDGED,
    ("ppo", "klTarget"): {"ppo": {"klController": "Adaptive"}},
    ("grpo", "rewardFunctions", "pattern"): {"grpo": {"rewardFunctions": [{"type": "Regex"}]}},
    ("grpo", "rewardFunctions", "maxTokens"): {"grpo": {"rewardFunctions": [{"type": "Length"}]}},
    ("training", "engine"): {"training": {"packing": False}},
    ("training", "earlyStopping"): {"training": {"evalEverySteps": 1}},
    ("checkpoints", "best"): {"training": {"evalEverySteps": 1}, "method": "DPO"},
}
"""What else a job must say, or with None leave out, for a field, or any below it, to be allowed."""
NOT_ALONE = {("data", "evaluation", "weight")}
"""Fields that have no second value, or one only where it is refused."""


def smallest(path: tuple[str, ...]) -> dict[str, Any]:
    """The smallest spec in which the field at `path` is allowed."""
    spec: dict[str, Any] = document()["spec"]
    for prefix, needed in NEEDS.items():
        if path[: len(prefix)] == prefix:
            for name, value in needed.items():
                spec[name] = _merged(spec.get(name, {}), value)
    return spec


def _merged(block: Any, value: Any) -> Any:
    if not isinstance(value, dict):
        return value
    return {name: each for name, each in {**block, **value}.items() if each is not None}


def with_value(
    path: tuple[str, ...], value: Any, spec: dict[str, Any] | None = None
) -> dict[str, Any]:
    """`spec` with `value` at `path`; required neighbours that it lacks are filled in.

    Args:
        spec: the smallest one in which the field is allowed, when absent.
    """
    made = smallest(path) if spec is None else copy.deepcopy(spec)
    model: type[ApiModel] = FineTuneJobSpec
    place: dict[str, Any] = made
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
    return made
