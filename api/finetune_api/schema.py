"""Turns the types of `finetune_api.fields`' closed vocabulary into structural schemas with CEL.

Anything outside the vocabulary raises `TypeError`, so that no field reaches a CRD by accident.
"""

import types
from collections.abc import Iterable
from enum import StrEnum
from typing import Annotated, Any, Union, get_args, get_origin

from annotated_types import Ge, Le, MaxLen, MinLen
from pydantic import AfterValidator, BeforeValidator
from pydantic.fields import FieldInfo
from pydantic_core import PydanticUndefined

from finetune_api.fields import ApiModel, DecimalRange, IntOrString, OpaqueMark, Recipe, Rule

Schema = dict[str, Any]

_KNOWN_MARKS = (
    Ge,
    Le,
    MinLen,
    MaxLen,
    DecimalRange,
    AfterValidator,
    BeforeValidator,
    IntOrString,
    OpaqueMark,
    Recipe,
)


def object_schema(model: type[ApiModel], *, in_list: bool = False) -> Schema:
    """The structural schema of one model, with defaults, bounds and rules.

    Items of a list get no defaults: `kubectl apply` compares lists as a whole, so that a default in
    one would make each unchanged manifest look changed.
    """
    properties: Schema = {}
    required: list[str] = []
    for name, info in model.model_fields.items():
        wire_name = info.alias or name
        schema = _field_schema(f"{model.__name__}.{name}", info)
        if in_list:
            schema.pop("default", None)
        properties[wire_name] = schema
        if info.is_required():
            required.append(wire_name)
    whole: Schema = {"type": "object", "properties": properties}
    if model.__doc__:
        whole["description"] = " ".join(model.__doc__.split())
    if required:
        whole["required"] = required
    rules = validations(model.RULES + model.CLUSTER_RULES)
    if rules:
        whole["x-kubernetes-validations"] = rules
    return whole


def validations(rules: Iterable[Rule]) -> list[Schema]:
    """`x-kubernetes-validations` of `rules`."""
    return [{"rule": rule.cel, "message": rule.message} for rule in rules]


def _field_schema(where: str, info: FieldInfo) -> Schema:
    schema = _type_schema(where, info.annotation, list(info.metadata))
    if info.description:
        schema["description"] = " ".join(info.description.split())
    default = _default(info)
    if default is not None:
        schema["default"] = default
    return schema


def _default(info: FieldInfo) -> Any:
    if info.default_factory is not None:
        value = info.get_default(call_default_factory=True, validated_data={})
        return {} if isinstance(value, ApiModel) else value
    if info.default in (PydanticUndefined, None):
        return None
    return info.default.value if isinstance(info.default, StrEnum) else info.default


def _type_schema(where: str, annotation: Any, metadata: list[Any]) -> Schema:
    for mark in metadata:
        if not isinstance(mark, _KNOWN_MARKS) and getattr(mark, "__dict__", {}).keys() != {
            "pattern"
        }:
            raise TypeError(f"{where}: {mark!r} has no structural schema")
    origin = get_origin(annotation)
    if origin is Annotated:
        inner, *extra = get_args(annotation)
        return _type_schema(where, inner, _flatten(extra) + metadata)
    if origin in (Union, types.UnionType):
        members = [member for member in get_args(annotation) if member is not type(None)]
        if len(members) != 1:
            raise TypeError(f"{where}: a union other than optional has no structural schema")
        return _type_schema(where, members[0], metadata)
    if any(isinstance(mark, OpaqueMark) for mark in metadata):
        return {"type": "object", "x-kubernetes-preserve-unknown-fields": True}
    if origin is list:
        return _list_schema(where, annotation, metadata)
    if origin is dict:
        return _map_schema(where, annotation, metadata)
    if isinstance(annotation, type):
        return _scalar_schema(where, annotation, metadata)
    raise TypeError(f"{where}: {annotation!r} is outside the vocabulary")


def _list_schema(where: str, annotation: Any, metadata: list[Any]) -> Schema:
    (item,) = get_args(annotation)
    is_object = isinstance(item, type) and issubclass(item, ApiModel)
    schema = {
        "type": "array",
        "items": object_schema(item, in_list=True)
        if is_object
        else _type_schema(f"{where}[]", item, []),
        "maxItems": _required(where, metadata, MaxLen, "max_length"),
    }
    minimum = _find(metadata, MinLen, "min_length")
    if minimum is not None:
        schema["minItems"] = minimum
    return schema


def _map_schema(where: str, annotation: Any, metadata: list[Any]) -> Schema:
    key, value = get_args(annotation)
    if key is not str:
        raise TypeError(f"{where}: keys of a map are strings")
    return {
        "type": "object",
        "additionalProperties": _type_schema(f"{where}{{}}", value, []),
        "maxProperties": _required(where, metadata, MaxLen, "max_length"),
    }


def _scalar_schema(where: str, annotation: type, metadata: list[Any]) -> Schema:
    if issubclass(annotation, ApiModel):
        return object_schema(annotation)
    if issubclass(annotation, StrEnum):
        return {"type": "string", "enum": [member.value for member in annotation]}
    if annotation is bool:
        return {"type": "boolean"}
    if annotation is int:
        return {
            "type": "integer",
            "format": "int64",
            "minimum": _required(where, metadata, Ge, "ge"),
            "maximum": _required(where, metadata, Le, "le"),
        }
    if annotation is str:
        return _string_schema(where, metadata)
    raise TypeError(f"{where}: {annotation!r} is outside the vocabulary")


def _string_schema(where: str, metadata: list[Any]) -> Schema:
    schema: Schema = {
        "type": "string",
        "maxLength": _required(where, metadata, MaxLen, "max_length"),
    }
    minimum = _find(metadata, MinLen, "min_length")
    if minimum is not None:
        schema["minLength"] = minimum
    pattern = next((m.pattern for m in metadata if getattr(m, "pattern", None)), None)
    if pattern is not None:
        schema["pattern"] = pattern
    if any(isinstance(mark, IntOrString) for mark in metadata):
        del schema["type"]
        schema["x-kubernetes-int-or-string"] = True
    bounds = next((m for m in metadata if isinstance(m, DecimalRange)), None)
    if bounds is not None:
        terms = " && ".join(f"double(self) {op} {float(b)!r}" for op, b in bounds.terms())
        schema["x-kubernetes-validations"] = [{"rule": terms, "message": bounds.sentence()}]
    return schema


def _flatten(metadata: list[Any]) -> list[Any]:
    """Metadata with the parts of nested `Field(...)` objects side by side."""
    flat: list[Any] = []
    for item in metadata:
        flat.extend(item.metadata if isinstance(item, FieldInfo) else [item])
    return flat


def _find(metadata: list[Any], kind: type, attribute: str) -> Any:
    return next((getattr(m, attribute) for m in metadata if isinstance(m, kind)), None)


def _required(where: str, metadata: list[Any], kind: type, attribute: str) -> Any:
    value = _find(metadata, kind, attribute)
    if value is None:
        raise TypeError(f"{where}: needs {attribute}, or the API server cannot bound its cost")
    return value
