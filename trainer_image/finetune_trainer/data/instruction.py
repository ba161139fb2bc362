"""Rows with an instruction and a response (dolly, alpaca)."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from finetune_trainer.data.conversation import Conversation, Message, text_of
from finetune_trainer.data.row_template import RowTemplate


@dataclass(frozen=True)
class InstructionColumns:
    """Names of the columns."""

    instruction: str
    response: str
    context: str | None
    system: str | None
    template: RowTemplate | None = None

    def read(self, row: Mapping[str, Any]) -> Conversation:
        """User and assistant turn of `row`, after a system turn where there is one.

        Without a template the context follows the instruction after an empty line.
        Raises InvalidRow.
        """
        instruction = text_of(row, self.instruction, required=True)
        context = text_of(row, self.context, required=False) if self.context else ""
        response = text_of(row, self.response, required=True)
        system = text_of(row, self.system, required=False) if self.system else ""
        if self.template is not None:
            user = self.template.render({"instruction": instruction, "context": context})
        else:
            user = f"{instruction}\n\n{context}" if context.strip() else instruction
        messages: list[Message] = [{"role": "system", "content": system}] if system.strip() else []
        messages += [{"role": "user", "content": user}, {"role": "assistant", "content": response}]
        return Conversation(messages)
