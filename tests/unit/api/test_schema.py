"""The CRD comes from the types, and nothing reaches it by accident."""

from datetime import datetime
from enum import Enum
from pathlib import Path
from typing import Annotated, Any, Literal

import pytest
import yaml
from finetune_api.crd import CRD_FILE, crd, crd_yaml, immutability_rules
from finetune_api.fields import ApiModel, DecimalShare, Opaque
from finetune_api.reference import REASONS_FILE, REFERENCE_FILE, reasons, reference
from finetune_api.schema import object_schema
from finetune_api.spec import MUTABLE_FIELDS, FineTuneJobSpec, Method
from pydantic import Field, create_model

ROOT = Path(__file__).parents[3]


class Colour(Enum):
    RED = 1


def emitted(annotation: Any) -> dict[str, Any]:
    model = create_model("Made", __base__=ApiModel, field=(annotation, ...))
    properties: dict[str, Any] = object_schema(model)["properties"]
    field: dict[str, Any] = properties["field"]
    return field


@pytest.mark.parametrize(
    "annotation",
    [
        float,
        bytes,
        Any,
        datetime,
        Colour,
        Literal["a"],
        tuple[str, ...],
        str | int,
        str,
        int,
        Annotated[int, Field(ge=0)],
        Annotated[int, Field(gt=0, le=5)],
        Annotated[int, Field(ge=0, le=9, multiple_of=3)],
        Annotated[str, Field(max_length=5, strict=True)],
        list[bool],
        dict[str, bool],
        Annotated[dict[int, bool], Field(max_length=3)],
        Annotated[list[float], Field(max_length=3)],
    ],
    ids=str,
)
def test_a_type_outside_the_vocabulary_is_refused(annotation: Any) -> None:
    with pytest.raises(TypeError, match=r"Made\.field"):
        emitted(annotation)


def test_the_vocabulary_gives_bounded_structural_schemas() -> None:
    assert emitted(bool) == {"type": "boolean"}
    assert emitted(Annotated[int, Field(ge=1, le=5)]) == {
        "type": "integer",
        "format": "int64",
        "minimum": 1,
        "maximum": 5,
    }
    assert emitted(Annotated[dict[str, bool] | None, Field(max_length=3)]) == {
        "type": "object",
        "additionalProperties": {"type": "boolean"},
        "maxProperties": 3,
    }
    assert emitted(Opaque) == {"type": "object", "x-kubernetes-preserve-unknown-fields": True}
    (rule,) = emitted(DecimalShare)["x-kubernetes-validations"]
    assert rule["rule"] == "double(self) >= 0.0 && double(self) <= 1.0"


@pytest.mark.parametrize(
    ("file", "made"),
    [
        (Path("crds", CRD_FILE), crd_yaml),
        (Path("charts/finetune-operator/files", CRD_FILE), crd_yaml),
        (Path("docs", REFERENCE_FILE), reference),
        (Path("docs", REASONS_FILE), reasons),
    ],
    ids=["crd", "crd-of-the-chart", "fields", "reasons"],
)
def test_generated_files_are_up_to_date(file: Path, made: Any) -> None:
    assert (ROOT / file).read_text(encoding="utf-8") == made(), "run `make generate`"


def test_only_the_mutable_fields_have_no_transition_rule() -> None:
    fields = FineTuneJobSpec.model_fields
    guarded = {
        rule.cel.partition(")")[0].removeprefix("has(self.") for rule in immutability_rules()
    }
    assert guarded == {str(i.alias) for name, i in fields.items() if name not in MUTABLE_FIELDS}
    assert set(fields) >= MUTABLE_FIELDS


def test_every_string_list_and_map_of_the_crd_is_bounded() -> None:
    def unbounded(schema: dict[str, Any], path: str) -> list[str]:
        bound = {"string": "maxLength", "array": "maxItems"}.get(schema.get("type", "string"))
        found = [path] if bound and bound not in schema and "enum" not in schema else []
        if "additionalProperties" in schema:
            found += [] if "maxProperties" in schema else [path]
            found += unbounded(schema["additionalProperties"], f"{path}{{}}")
        if "items" in schema:
            found += unbounded(schema["items"], f"{path}[]")
        for name, inner in schema.get("properties", {}).items():
            found += unbounded(inner, f"{path}.{name}")
        return found

    (version,) = yaml.safe_load(crd_yaml())["spec"]["versions"]
    parts = version["schema"]["openAPIV3Schema"]["properties"]
    assert unbounded(parts["spec"], "spec") + unbounded(parts["status"], "status") == []


def test_a_block_with_defaults_has_a_default_itself() -> None:
    (version,) = crd()["spec"]["versions"]
    spec = version["schema"]["openAPIV3Schema"]["properties"]["spec"]
    for name, block in spec["properties"].items():
        inner = block.get("properties", {})
        of_one_method = name in {method.lower() for method in Method}
        if any("default" in f for f in inner.values()) and name not in spec["required"]:
            if of_one_method:
                assert "default" not in block, "it would appear in jobs of other methods"
                continue
            assert block.get("default") == {}, name
