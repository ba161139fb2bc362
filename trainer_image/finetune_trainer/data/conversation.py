"""What every shape of row becomes: the turns of a conversation."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from finetune_trainer.data.faults import Fault, InvalidRow, kind_of

Message = dict[str, Any]
"""A turn as a chat template takes it: role, content, and for tools tool_calls, name and
tool_call_id."""


@dataclass(frozen=True)
class Conversation:
    """The turns of one row."""

    messages: list[Message]
    tools: list[dict[str, Any]] | None = None
    """Schemas of the functions that the assistant may call."""
    unweighted: frozenset[int] = frozenset()
    """Positions of assistant turns whose weight in the row is 0: not trained on."""

    def assistant_turns(self) -> list[int]:
        """Positions of the assistant's turns."""
        return [i for i, message in enumerate(self.messages) if message["role"] == "assistant"]

    def opening(self) -> list[Message]:
        """The turns before the assistant's first answer to a user: what rows are grouped by."""
        answered = False
        for position, message in enumerate(self.messages):
            if message["role"] == "assistant" and answered:
                return self.messages[:position]
            answered = answered or message["role"] == "user"
        return self.messages


def text_of(row: Mapping[str, Any], column: str, *, required: bool) -> str:
    """The text in a column; "" for an absent or null optional one. Raises InvalidRow."""
    value = row.get(column)
    if value is None:
        if not required:
            return ""
        raise InvalidRow(Fault.MISSING, "the field is missing", column)
    if not isinstance(value, str):
        raise InvalidRow(Fault.TYPE, f"must be text, is {kind_of(value)}", column)
    check_text(value, column)
    if required and not value.strip():
        raise InvalidRow(Fault.EMPTY, "the text is empty", column)
    return value


def check_text(text: str, field: str) -> None:
    """Raise InvalidRow for text that no tokenizer takes: a lone half of a surrogate pair."""
    if text.isascii():
        return
    try:
        text.encode("utf-8")
    except UnicodeEncodeError as error:
        raise InvalidRow(
            Fault.ENCODING, "holds half of a surrogate pair, which is no character", field
        ) from error
