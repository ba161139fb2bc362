"""Rows with a prompt that the model answers itself (PPO, GRPO)."""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from finetune_trainer.data.conversation import Conversation, text_of
from finetune_trainer.data.faults import Fault, InvalidRow, kind_of
from finetune_trainer.data.messages import with_system
from finetune_trainer.data.preference import prompt_turns
from finetune_trainer.data.tools import tool_schemas


@dataclass(frozen=True)
class Prompt:
    """A conversation up to the answer."""

    conversation: Conversation
    answer: str
    """The right answer, which reward functions compare with; "" where the row has none."""


@dataclass(frozen=True)
class PromptColumns:
    """Names of the columns."""

    prompt: str
    """Text, or a list of turns."""
    answer: str
    system: str | None
    tools: str | None
    needs_answer: bool
    """Rows without an answer are invalid."""

    def read(self, row: Mapping[str, Any]) -> Prompt:
        """The prompt of `row` and its right answer. Raises InvalidRow."""
        turns = prompt_turns(row, self.prompt)
        if turns[-1].role not in ("user", "tool"):
            raise InvalidRow(
                Fault.TURNS,
                f"ends with a turn of the {turns[-1].role}, and the model is to answer one of the "
                "user or of a tool; rows with answers are for SFT",
                self.prompt,
            )
        if not any(turn.role == "user" for turn in turns):
            raise InvalidRow(Fault.TURNS, "the prompt has no turn of the user", self.prompt)
        turns = with_system(row, self.system, turns)
        tools = tool_schemas(row.get(self.tools), self.tools) if self.tools else None
        conversation = Conversation([turn.message for turn in turns], tools)
        return Prompt(conversation, self._answer(row))

    def _answer(self, row: Mapping[str, Any]) -> str:
        """The right answer as text, also where it is a number."""
        value = row.get(self.answer)
        if value is None and self.needs_answer:
            message = "the field is missing, with which the reward function ExactAnswer compares"
            raise InvalidRow(Fault.MISSING, message, self.answer)
        if isinstance(value, str | None):
            return text_of(row, self.answer, required=self.needs_answer)
        if isinstance(value, bool) or not isinstance(value, int | float):
            message = f"must be text or a number, is {kind_of(value)}"
            raise InvalidRow(Fault.TYPE, message, self.answer)
        if not math.isfinite(value):
            raise InvalidRow(Fault.TYPE, "is no finite number", self.answer)
        return str(value)
