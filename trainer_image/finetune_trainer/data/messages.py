"""Rows with a list of turns: role and content, or ShareGPT's from and value."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from finetune_trainer.data.conversation import Conversation, Message, check_text, text_of
from finetune_trainer.data.faults import Fault, InvalidRow, kind_of
from finetune_trainer.data.tools import tool_calls, tool_schemas

ROLES = {
    "system": "system",
    "developer": "system",
    "user": "user",
    "human": "user",
    "assistant": "assistant",
    "gpt": "assistant",
    "function_call": "assistant",
    "tool": "tool",
    "observation": "tool",
    "function": "tool",
}
"""Roles as rows name them, and as chat templates do."""


@dataclass(frozen=True)
class Turn:
    """One turn of a row."""

    message: Message
    weight: float
    """0 for an answer that is not trained on, else 1."""

    @property
    def role(self) -> str:
        """The role, as chat templates name it."""
        return str(self.message["role"])


@dataclass(frozen=True)
class MessagesColumns:
    """Names of the columns."""

    messages: str
    system: str | None
    tools: str | None

    def read(self, row: Mapping[str, Any]) -> Conversation:
        """The turns of `row`. Raises InvalidRow naming the turn, counted from 1."""
        value = row.get(self.messages)
        if value is None:
            raise InvalidRow(Fault.MISSING, "the field is missing", self.messages)
        if not isinstance(value, list):
            raise InvalidRow(
                Fault.TYPE, f"must be a list of turns, is {kind_of(value)}", self.messages
            )
        turns = with_system(row, self.system, read_turns(value, self.messages))
        tools = tool_schemas(row.get(self.tools), self.tools) if self.tools else None
        conversation = Conversation([turn.message for turn in turns], tools, unweighted(turns))
        _check_answers(conversation, self.messages)
        return conversation


def read_turns(value: list[Any], column: str) -> list[Turn]:
    """The turns in a column. Raises InvalidRow naming the turn, counted from 1."""
    return [read_turn(turn, f"{column}[{number}]") for number, turn in enumerate(value, start=1)]


def with_system(row: Mapping[str, Any], column: str | None, turns: list[Turn]) -> list[Turn]:
    """`turns`, after those of a system column unless they begin with a system turn themselves."""
    system = text_of(row, column, required=False) if column else ""
    if not system.strip() or (turns and turns[0].role == "system"):
        return turns
    return [Turn({"role": "system", "content": system}, 1), *turns]


def unweighted(turns: Sequence[Turn]) -> frozenset[int]:
    """Positions of the answers that are not trained on."""
    return frozenset(
        position
        for position, turn in enumerate(turns)
        if turn.role == "assistant" and turn.weight == 0
    )


def _check_answers(conversation: Conversation, column: str) -> None:
    answers = conversation.assistant_turns()
    if not answers:
        raise InvalidRow(Fault.TURNS, "no turn is the assistant's, so nothing is learnt", column)
    if set(answers) == conversation.unweighted:
        raise InvalidRow(Fault.NO_LABELS, "every assistant turn has weight 0", column)


def read_turn(turn: object, where: str) -> Turn:
    """One turn: role and content, or from and value. Raises InvalidRow."""
    if not isinstance(turn, dict):
        raise InvalidRow(Fault.TURNS, f"a turn is an object, this is {kind_of(turn)}", where)
    name = turn.get("role", turn.get("from"))
    role = ROLES.get(name) if isinstance(name, str) else None
    if role is None:
        known = ", ".join(ROLES)
        raise InvalidRow(Fault.TURNS, f"the role (or from) must be one of {known}", where)
    message: Message = {"role": role}
    body = turn.get("content", turn.get("value"))
    calls = body if name == "function_call" else turn.get("tool_calls")
    if calls is not None and role == "assistant":
        message["tool_calls"] = tool_calls(calls, where)
        body = "" if name == "function_call" else body or ""
    message["content"] = _content(body, where)
    if not message["content"].strip() and role != "tool" and "tool_calls" not in message:
        raise InvalidRow(Fault.EMPTY, "the turn's content is empty", where)
    for key in ("name", "tool_call_id", "reasoning_content"):
        if isinstance(turn.get(key), str):
            check_text(turn[key], where)
            message[key] = turn[key]
    return Turn(message, _weight(turn, where))


def _content(body: object, where: str) -> str:
    """Text of a turn: a string, or a list of parts {"type": "text", "text" or "value": ...}."""
    if isinstance(body, list):
        return "".join(_part(part, where) for part in body)
    if not isinstance(body, str):
        raise InvalidRow(Fault.TYPE, f"content must be text, is {kind_of(body)}", where)
    check_text(body, where)
    return body


def _part(part: object, where: str) -> str:
    if not isinstance(part, dict) or part.get("type") != "text":
        raise InvalidRow(Fault.TYPE, "a part of the content is not text", where)
    text = part.get("text", part.get("value"))
    if not isinstance(text, str):
        raise InvalidRow(Fault.TYPE, "a text part lacks its text", where)
    check_text(text, where)
    return text


def _weight(turn: Mapping[str, Any], where: str) -> float:
    """`weight` or `loss_weight` of a turn; 1 when absent."""
    weight = turn.get("weight", turn.get("loss_weight", 1))
    if weight not in (0, 1):
        raise InvalidRow(Fault.TURNS, "a turn's weight must be 0 or 1", where)
    return float(weight)
