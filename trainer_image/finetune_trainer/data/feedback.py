"""Rows with an answer that people found desirable or not (KTO)."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from finetune_trainer.data.conversation import Conversation
from finetune_trainer.data.faults import Fault, InvalidRow, kind_of
from finetune_trainer.data.messages import MessagesColumns
from finetune_trainer.data.prompt_completion import PromptCompletionColumns

_WORDS = {"true": True, "false": False, "1": True, "0": False}


@dataclass(frozen=True)
class Feedback:
    """A conversation and whether its answer is desirable."""

    conversation: Conversation
    desirable: bool


@dataclass(frozen=True)
class FeedbackColumns:
    """Names of the columns."""

    label: str
    conversation: PromptCompletionColumns | MessagesColumns

    def read(self, row: Mapping[str, Any]) -> Feedback:
        """The answer in `row` and its label. Raises InvalidRow."""
        value = row.get(self.label)
        if value is None:
            raise InvalidRow(Fault.MISSING, "the field is missing", self.label)
        desirable = label_of(value)
        if desirable is None:
            message = f"must be true or false (or 1 or 0), is {kind_of(value)}"
            raise InvalidRow(Fault.TYPE, message, self.label)
        return Feedback(self.conversation.read(row), desirable)


def label_of(value: object) -> bool | None:
    """What a label says: true, false, 1, 0 or one of these as text; None where it is neither."""
    return _WORDS.get(str(value).strip().lower()) if isinstance(value, bool | int | str) else None
