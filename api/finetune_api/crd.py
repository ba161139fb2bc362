"""The CustomResourceDefinition of FineTuneJob; `python -m finetune_api.crd DIR...` writes it."""

import sys
from pathlib import Path
from typing import Any

import yaml

from finetune_api.fields import Rule
from finetune_api.job import (
    API_VERSION,
    GROUP,
    KIND,
    NAME_SENTENCE,
    PLURAL,
    SHORT_NAME,
    SINGULAR,
    VERSION,
)
from finetune_api.lineage import OWN_NAME_SENTENCE, WIRE_BLOCKS
from finetune_api.schema import Schema, object_schema, validations
from finetune_api.spec import MUTABLE_FIELDS, FineTuneJobSpec
from finetune_api.spec.model import MAX_NAME_LENGTH, NAME_PATTERN
from finetune_api.status import NOT_OBSERVED, FineTuneJobStatus, Phase

CRD_FILE = f"{GROUP}_{PLURAL}.yaml"

_WIDE = 1
"""Priority of a column that only `-o wide` shows."""
_COLUMNS = (
    ("Method", "string", ".spec.method", None),
    ("Model", "string", ".spec.model.uri", None),
    ("Phase", "string", ".status.phase", None),
    (
        "Progress",
        "integer",
        ".status.progress.percent",
        "Percent of the optimizer steps that are done",
    ),
    ("Stage", "string", ".status.progress.stage", "What it does now", _WIDE),
    (
        "Stage Progress",
        "integer",
        ".status.progress.stagePercent",
        "Percent done of a stage without optimizer steps",
        _WIDE,
    ),
    ("Age", "date", ".metadata.creationTimestamp", None),
    (
        "Reason",
        "string",
        '.status.conditions[?(@.type=="Reconciling")].reason',
        "What it does or waits for, or why it ended",
        _WIDE,
    ),
    ("Parent", "string", ".spec.model.fromJob.name", "Job whose result it starts from", _WIDE),
    ("Result", "string", ".status.output.uri", None, _WIDE),
)

_NAME_RULE = {
    "rule": f"size(self.metadata.name) <= {MAX_NAME_LENGTH}"
    f" && self.metadata.name.matches('{NAME_PATTERN}')",
    "message": NAME_SENTENCE,
}

_PARENT_RULES = [
    {
        "rule": f"!has(self.spec.{block}) || !has(self.spec.{block}.fromJob)"
        f" || self.spec.{block}.fromJob.name != self.metadata.name",
        "message": f"spec.{block}.fromJob.name {OWN_NAME_SENTENCE}",
    }
    for block in WIRE_BLOCKS.values()
]


def immutability_rules() -> list[Rule]:
    """One transition rule on the spec for each field that may not change.

    On the spec and not on the field, because a rule on an optional field is not evaluated when
    the field appears or goes.
    """
    rules = []
    for name, info in FineTuneJobSpec.model_fields.items():
        if name in MUTABLE_FIELDS:
            continue
        wire = info.alias or name
        rules.append(
            Rule(
                f"has(self.{wire}) == has(oldSelf.{wire})"
                f" && (!has(self.{wire}) || self.{wire} == oldSelf.{wire})",
                f"{wire} cannot change after creation; delete the job first, or give another name",
                lambda _: True,
            )
        )
    return rules


def crd() -> dict[str, Any]:
    """The CRD as a document for the API server."""
    return {
        "apiVersion": "apiextensions.k8s.io/v1",
        "kind": "CustomResourceDefinition",
        "metadata": {"name": f"{PLURAL}.{GROUP}"},
        "spec": {
            "group": GROUP,
            "names": {
                "kind": KIND,
                "listKind": f"{KIND}List",
                "plural": PLURAL,
                "singular": SINGULAR,
                "shortNames": [SHORT_NAME],
                "categories": ["all", "finetune"],
            },
            "scope": "Namespaced",
            "versions": [
                {
                    "name": VERSION,
                    "served": True,
                    "storage": True,
                    "subresources": {"status": {}},
                    "additionalPrinterColumns": [_column(*column) for column in _COLUMNS],
                    "schema": {"openAPIV3Schema": _root_schema()},
                }
            ],
        },
    }


def _root_schema() -> Schema:
    spec = object_schema(FineTuneJobSpec)
    spec.setdefault("x-kubernetes-validations", []).extend(validations(immutability_rules()))
    status = object_schema(FineTuneJobStatus)
    conditions = status["properties"]["conditions"]
    conditions.pop("default", None)
    conditions["x-kubernetes-list-type"] = "map"
    conditions["x-kubernetes-list-map-keys"] = ["type"]
    status["properties"]["phase"].pop("default", None)
    status["default"] = {"observedGeneration": NOT_OBSERVED, "phase": Phase.PENDING.value}
    return {
        "description": f"A fine-tuning run of a language model ({API_VERSION}).",
        "type": "object",
        "required": ["spec"],
        "properties": {
            "apiVersion": {"type": "string"},
            "kind": {"type": "string"},
            "metadata": {"type": "object"},
            "spec": spec,
            "status": status,
        },
        "x-kubernetes-validations": [_NAME_RULE, *_PARENT_RULES],
    }


def _column(
    name: str, kind: str, path: str, description: str | None, priority: int = 0
) -> dict[str, Any]:
    column: dict[str, Any] = {"name": name, "type": kind, "jsonPath": path, "priority": priority}
    if description:
        column["description"] = description
    return column


def crd_yaml() -> str:
    """The CRD as the text that lies in crds/."""
    return "# Made by `make generate` from api/finetune_api; do not edit.\n" + yaml.safe_dump(
        crd(), sort_keys=False, width=100
    )


if __name__ == "__main__":
    for folder in sys.argv[1:]:
        Path(folder, CRD_FILE).write_text(crd_yaml(), encoding="utf-8")
