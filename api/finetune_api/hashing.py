"""The recipe hash: equal for two jobs exactly when they would compute the same result."""

import hashlib
import json
from collections.abc import Mapping
from enum import Enum
from typing import Any

from pydantic import BaseModel

from finetune_api.fields import RECIPE
from finetune_api.spec import FineTuneJobSpec


def canonical_digest(document: object) -> str:
    """SHA-256 of `document` as JSON with sorted keys."""
    text = json.dumps(document, sort_keys=True, ensure_ascii=True, separators=(",", ":"))
    return hashlib.sha256(text.encode()).hexdigest()


def recipe_fields(model: BaseModel, digests: Mapping[str, str]) -> dict[str, Any]:
    """The fields of `model` that are marked as part of the recipe, nested models included.

    `digests` has the digest of what lies at each address, which stands in the address's place.
    """
    fields: dict[str, Any] = {}
    for name, info in type(model).model_fields.items():
        value = getattr(model, name)
        if isinstance(value, BaseModel):
            nested = recipe_fields(value, digests)
            if nested:
                fields[name] = nested
        elif RECIPE in info.metadata and value is not None:
            fields[name] = digests[value] if name == "uri" else _plain(value, digests)
    return fields


def recipe_hash(
    resolved: FineTuneJobSpec, content_digests: Mapping[str, str], trainer_version: str
) -> str:
    """Digest of a resolved spec's recipe.

    Args:
        content_digests: address -> digest of what lies there, put in place of every address,
            so that moving data changes nothing and changing data changes the hash.
        trainer_version: "MAJOR.MINOR.PATCH"; the patch level is left out.
    """
    recipe = recipe_fields(resolved, content_digests)
    minor = ".".join(trainer_version.split(".")[:2])
    return canonical_digest({"recipe": recipe, "trainer": minor})


def _plain(value: object, digests: Mapping[str, str]) -> Any:
    if isinstance(value, BaseModel):
        return recipe_fields(value, digests)
    if isinstance(value, Enum):
        return value.value
    if isinstance(value, list):
        return [_plain(item, digests) for item in value]
    return value
