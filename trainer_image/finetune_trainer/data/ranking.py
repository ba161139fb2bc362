"""Rows with several answers to one prompt and their scores (Reward)."""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from finetune_trainer.data.conversation import Conversation, Message
from finetune_trainer.data.faults import Fault, InvalidRow, kind_of
from finetune_trainer.data.messages import with_system
from finetune_trainer.data.preference import answer_turns, check_answer, prompt_turns, whole
from finetune_trainer.data.tools import tool_schemas

MOST_RESPONSES = 32
LARGEST_SCORE = 1e38


@dataclass(frozen=True)
class Ranking:
    """Conversations that begin with the same prompt, from the best to the worst."""

    prompt: list[Message]
    answers: list[Conversation]
    scores: list[float]
    """Of each, falling; some may be equal, but not all."""


@dataclass(frozen=True)
class RankingColumns:
    """Names of the columns."""

    prompt: str
    """Text, or a list of turns."""
    responses: str
    """List of texts, turns or lists of turns."""
    scores: str
    """List of numbers, as many; higher is better."""
    system: str | None
    tools: str | None

    def read(self, row: Mapping[str, Any]) -> Ranking:
        """The answers in `row`, the best first. Raises InvalidRow."""
        prompt = prompt_turns(row, self.prompt)
        responses, scores = self._list(row, self.responses), self._list(row, self.scores)
        if len(responses) != len(scores):
            message = f"holds {len(scores)} scores for {len(responses)} {self.responses}"
            raise InvalidRow(Fault.PAIR, message, self.scores)
        if not 2 <= len(responses) <= MOST_RESPONSES:
            message = f"must hold 2 to {MOST_RESPONSES} answers, holds {len(responses)}"
            raise InvalidRow(Fault.PAIR, message, self.responses)
        numbers = [self._score(score, number) for number, score in enumerate(scores, start=1)]
        if len(set(numbers)) == 1:
            raise InvalidRow(Fault.PAIR, "all answers have the same score", self.scores)
        prompt = with_system(row, self.system, prompt)
        tools = tool_schemas(row.get(self.tools), self.tools) if self.tools else None
        order = sorted(range(len(numbers)), key=lambda index: -numbers[index])
        answers = []
        for index in order:
            where = f"{self.responses}[{index + 1}]"
            turns = answer_turns(responses[index], where)
            check_answer(turns, where)
            answers.append(whole(prompt, turns, tools))
        return Ranking(
            [turn.message for turn in prompt], answers, [numbers[index] for index in order]
        )

    def _list(self, row: Mapping[str, Any], column: str) -> list[Any]:
        value = row.get(column)
        if value is None:
            raise InvalidRow(Fault.MISSING, "the field is missing", column)
        if not isinstance(value, list):
            raise InvalidRow(Fault.TYPE, f"must be a list, is {kind_of(value)}", column)
        return value

    def _score(self, score: object, number: int) -> float:
        if isinstance(score, bool) or not isinstance(score, int | float):
            where = f"{self.scores}[{number}]"
            raise InvalidRow(Fault.TYPE, f"must be a number, is {kind_of(score)}", where)
        # Compared as they are stored, so that no pair is made of scores that are then equal.
        with np.errstate(over="ignore"):
            stored = float(np.float32(float(score))) if abs(score) <= LARGEST_SCORE else math.inf
        if not math.isfinite(stored):
            raise InvalidRow(
                Fault.TYPE, "is no finite number, or too large", f"{self.scores}[{number}]"
            )
        return stored
