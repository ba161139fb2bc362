"""Writes the API reference from the types: `python -m finetune_api.reference DIR`."""

import sys
from collections.abc import Iterator
from pathlib import Path

from finetune_api.job import API_VERSION, KIND
from finetune_api.reasons import REMEDIES
from finetune_api.schema import Schema, object_schema
from finetune_api.spec import MUTABLE_FIELDS, FineTuneJobSpec
from finetune_api.status import FineTuneJobStatus

REFERENCE_FILE = "reference/finetunejob.md"
REASONS_FILE = "reference/reasons.md"
_MADE = "<!-- Made by `make generate` from api/finetune_api; do not edit. -->\n"


def reference() -> str:
    """Every field of spec and status with type, default and meaning, as Markdown."""
    mutable = ", ".join(f"`{_wire(name)}`" for name in sorted(MUTABLE_FIELDS))
    lines = [
        _MADE,
        f"# {KIND} ({API_VERSION})\n",
        f"Only {mutable} may change after creation. A decimal string is a quoted number, "
        'such as `"2e-4"`.\n',
    ]
    for title, schema in (
        ("spec", object_schema(FineTuneJobSpec)),
        ("status", object_schema(FineTuneJobStatus)),
    ):
        lines += [f"## {title}\n", "| field | type | default | meaning |", "|---|---|---|---|"]
        lines += _rows(title, schema)
        lines.append("")
    return "\n".join(lines)


def reasons() -> str:
    """Every reason with its remedy, as Markdown."""
    lines = [
        _MADE,
        "# Reasons\n",
        "What conditions, attempts and termination messages name, and what to do.\n",
        "| reason | what to do |",
        "|---|---|",
    ]
    lines += [f"| {reason.value} | {text} |" for reason, text in REMEDIES.items()]
    return "\n".join(lines) + "\n"


def _rows(path: str, schema: Schema) -> Iterator[str]:
    required = schema.get("required", [])
    for name, field in schema.get("properties", {}).items():
        where = f"{path}.{name}"
        default = f"`{field['default']}`" if "default" in field else ""
        if name in required:
            default = "required"
        meaning = field.get("description", "").replace("|", "\\|")
        yield f"| `{where}` | {_type_name(field)} | {default} | {meaning} |"
        item = field.get("items", field)
        if "properties" in item:
            yield from _rows(where + ("[]" if item is not field else ""), item)


def _type_name(field: Schema) -> str:
    if "enum" in field:
        return " ".join(field["enum"])
    if "x-kubernetes-int-or-string" in field:
        return "quantity"
    if field["type"] == "array":
        return f"list, at most {field['maxItems']}"
    if field["type"] == "integer":
        return f"integer {field['minimum']}..{field['maximum']}"
    if "additionalProperties" in field:
        return f"map, at most {field['maxProperties']}"
    if "x-kubernetes-validations" in field and field["type"] == "string":
        return "decimal string"
    return str(field["type"])


def _wire(name: str) -> str:
    return str(FineTuneJobSpec.model_fields[name].alias)


if __name__ == "__main__":
    for file_name, text in ((REFERENCE_FILE, reference()), (REASONS_FILE, reasons())):
        target = Path(sys.argv[1], file_name)
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_text(text, encoding="utf-8")
