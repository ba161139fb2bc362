"""Rows with a prompt and its completion as two texts (SFT)."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from finetune_trainer.data.conversation import Conversation, text_of


@dataclass(frozen=True)
class PromptCompletionColumns:
    """Names of the columns."""

    prompt: str
    completion: str
    system: str | None

    def read(self, row: Mapping[str, Any]) -> Conversation:
        """The prompt as the user's turn and the completion as the answer, after a system turn
        where there is one; the chat template stands around them. Raises InvalidRow."""
        prompt = text_of(row, self.prompt, required=True)
        completion = text_of(row, self.completion, required=True)
        system = text_of(row, self.system, required=False) if self.system else ""
        before = [{"role": "system", "content": system}] if system.strip() else []
        return Conversation(
            [
                *before,
                {"role": "user", "content": prompt},
                {"role": "assistant", "content": completion},
            ]
        )
