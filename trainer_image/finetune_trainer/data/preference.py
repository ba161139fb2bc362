"""Rows with a chosen and a rejected answer to one prompt (DPO)."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from finetune_trainer.data.conversation import Conversation, Message, check_text
from finetune_trainer.data.faults import Fault, InvalidRow, kind_of
from finetune_trainer.data.messages import Turn, read_turn, read_turns, unweighted, with_system
from finetune_trainer.data.tools import tool_schemas


@dataclass(frozen=True)
class Preference:
    """Two conversations that begin with the same prompt; of each, what follows is learnt."""

    prompt: list[Message]
    chosen: Conversation
    rejected: Conversation


@dataclass(frozen=True)
class PreferenceColumns:
    """Names of the columns."""

    chosen: str
    rejected: str
    system: str | None
    tools: str | None
    prompt: str | None = None
    """Text, or a list of turns; None where both sides are whole conversations."""

    def read(self, row: Mapping[str, Any]) -> Preference:
        """The pair in `row`. Raises InvalidRow.

        A side is a text, a turn or a list of turns. Where both sides are whole conversations, the
        prompt is the turns with which both begin; a prompt column must agree with these.
        """
        chosen, rejected = (answer_turns(row.get(c), c) for c in (self.chosen, self.rejected))
        prompt = prompt_turns(row, self.prompt) if self.prompt else []
        if not (_answers(chosen) and _answers(rejected)):
            shared = _shared(chosen, rejected)
            self._check_shared(prompt, shared)
            chosen, rejected = chosen[len(shared) :], rejected[len(shared) :]
            prompt = shared
        self._check(prompt, chosen, rejected)
        prompt = with_system(row, self.system, prompt)
        tools = tool_schemas(row.get(self.tools), self.tools) if self.tools else None
        return Preference(
            [turn.message for turn in prompt],
            whole(prompt, chosen, tools),
            whole(prompt, rejected, tools),
        )

    def _check_shared(self, prompt: list[Turn], shared: list[Turn]) -> None:
        """With a prompt column, it must be what both conversations begin with, but for a system
        turn, or what stands last before they part."""
        if not shared:
            raise InvalidRow(
                Fault.PAIR, f"does not begin with the turns of {self.chosen}", self.rejected
            )
        begin = 1 if shared[0].role == "system" and prompt and prompt[0].role != "system" else 0
        size = len(prompt)
        if prompt and not (
            _equal(shared[begin : begin + size], prompt) or _equal(shared[-size:], prompt)
        ):
            raise InvalidRow(Fault.PAIR, f"does not follow the turns of {self.prompt}", self.chosen)

    def _check(self, prompt: list[Turn], chosen: list[Turn], rejected: list[Turn]) -> None:
        if not prompt:
            message = "no prompt comes before the two answers; give a column prompt"
            raise InvalidRow(Fault.PAIR, message, self.chosen)
        if not any(turn.role == "user" for turn in prompt):
            where = self.prompt or self.chosen
            raise InvalidRow(Fault.TURNS, "the prompt has no turn of the user", where)
        for column, side in ((self.chosen, chosen), (self.rejected, rejected)):
            check_answer(side, column)
        if _equal(chosen, rejected):
            raise InvalidRow(Fault.PAIR, f"is the same as {self.chosen}", self.rejected)


def check_answer(turns: Sequence[Turn], column: str) -> None:
    """Raise InvalidRow for turns that are no answer."""
    if not turns:
        raise InvalidRow(Fault.EMPTY, "no answer follows the prompt", column)
    if turns[0].role != "assistant":
        message = "the turns after the prompt must begin with the assistant's"
        raise InvalidRow(Fault.PAIR, message, column)
    if not any(turn.role == "assistant" and turn.weight for turn in turns):
        raise InvalidRow(Fault.NO_LABELS, "every answer has weight 0", column)


def answer_turns(value: object, column: str) -> list[Turn]:
    """The turns of an answer: a text, a turn or a list of turns. Raises InvalidRow."""
    value = _checked(value, column)
    if isinstance(value, str):
        return [Turn({"role": "assistant", "content": value}, 1)]
    if isinstance(value, dict):
        return [read_turn(value, column)]
    return read_turns(value, column)


def prompt_turns(row: Mapping[str, Any], column: str) -> list[Turn]:
    """The turns of a prompt: a text, a turn or a list of turns. Raises InvalidRow."""
    value = _checked(row.get(column), column)
    if isinstance(value, str):
        return [Turn({"role": "user", "content": value}, 1)]
    return read_turns([value] if isinstance(value, dict) else value, column)


def _checked(value: object, column: str) -> str | dict[str, Any] | list[Any]:
    """`value`, if it is text with something in it, a turn or turns."""
    if value is None:
        raise InvalidRow(Fault.MISSING, "the field is missing", column)
    if isinstance(value, str):
        check_text(value, column)
    elif not isinstance(value, dict | list):
        raise InvalidRow(Fault.TYPE, f"must be text or turns, is {kind_of(value)}", column)
    if not value or (isinstance(value, str) and not value.strip()):
        raise InvalidRow(Fault.EMPTY, "the field is empty", column)
    return value


def _answers(turns: list[Turn]) -> bool:
    """Whether the turns are an answer alone, not a conversation from its beginning."""
    return turns[0].role == "assistant"


def _shared(one: list[Turn], other: list[Turn]) -> list[Turn]:
    """The turns with which both begin."""
    size = 0
    while size < min(len(one), len(other)) and one[size].message == other[size].message:
        size += 1
    return one[:size]


def _equal(one: list[Turn], other: list[Turn]) -> bool:
    return [turn.message for turn in one] == [turn.message for turn in other]


def whole(
    prompt: list[Turn], answer: list[Turn], tools: list[dict[str, Any]] | None
) -> Conversation:
    """The conversation of one side; no answer within the prompt is learnt."""
    turns = [*(Turn(turn.message, 0) for turn in prompt), *answer]
    return Conversation([turn.message for turn in turns], tools, unweighted(turns))
