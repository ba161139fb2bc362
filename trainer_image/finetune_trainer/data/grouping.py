"""Which rows belong together and stay on one side of a split."""

import hashlib
import json
from collections.abc import Mapping, Sequence
from typing import Any

from finetune_trainer.data.conversation import Message
from finetune_trainer.data.faults import Fault, InvalidRow


def prompt_id(turns: Sequence[Message]) -> int:
    """Equal for equal roles and texts."""
    return text_id(json.dumps([[turn["role"], turn["content"]] for turn in turns]))


def group_of(row: Mapping[str, Any], column: str) -> int:
    """Equal for equal values of a column. Raises InvalidRow for a row without it."""
    if row.get(column) is None:
        raise InvalidRow(Fault.MISSING, "the field is missing, by which rows are grouped", column)
    return text_id(json.dumps(row[column], sort_keys=True))


def text_id(text: str) -> int:
    """64 bits of the SHA-256 of `text`, signed."""
    digest = hashlib.sha256(text.encode()).digest()
    return int.from_bytes(digest[:8], "little", signed=True)
