"""All words of an example, to be looked at or replaced, and its prompt and answer as text."""

import json
from collections.abc import Callable, Iterable
from dataclasses import replace
from typing import Any

from finetune_trainer.data.conversation import Conversation, Message
from finetune_trainer.data.document import Document
from finetune_trainer.data.feedback import Feedback
from finetune_trainer.data.preference import Preference
from finetune_trainer.data.prompt import Prompt
from finetune_trainer.data.ranking import Ranking
from finetune_trainer.data.rendering import Example

_KEPT = frozenset({"role", "type", "id", "tool_call_id"})
"""Entries of turns and of schemas that are names, not words."""


def words_of(example: Example) -> list[str]:
    """Every text that the model may read, in a fixed order."""
    found: list[str] = []

    def note(text: str) -> str:
        found.append(text)
        return text

    _mapped(example, note)
    return found


def with_words(example: Example, words: list[str]) -> Example:
    """The same with other texts, as many as `words_of` gives and in that order."""
    following = iter(words)
    return _mapped(example, lambda _: next(following))


def prompt_and_answer(example: Example) -> tuple[str, str]:
    """What is asked and what is answered: turns one after another, both sides of a pair."""
    match example:
        case Document(text):
            return "", text
        case Prompt(conversation, answer):
            return _text(conversation.messages), answer
        case Feedback(conversation, _):
            return prompt_and_answer(conversation)
        case Conversation():
            opening = example.opening()
            return _text(opening), _text(example.messages[len(opening) :])
        case Preference(prompt, chosen, rejected):
            return _text(prompt), "\n".join(_after(prompt, (chosen, rejected)))
        case Ranking(prompt, answers, _):
            return _text(prompt), "\n".join(_after(prompt, answers))


def answers_of(example: Example) -> list[str]:
    """Each answer by itself: both sides of a pair, each turn of the assistant."""
    match example:
        case Conversation():
            return [_said(example.messages[turn]) for turn in example.assistant_turns()]
        case Feedback(conversation, _):
            return answers_of(conversation)
        case Preference(prompt, chosen, rejected):
            return _after(prompt, (chosen, rejected))
        case Ranking(prompt, answers, _):
            return _after(prompt, answers)
        case _:
            return [prompt_and_answer(example)[1]]


def _after(prompt: list[Message], answers: Iterable[Conversation]) -> list[str]:
    return [_text(answer.messages[len(prompt) :]) for answer in answers]


def _text(turns: list[Message]) -> str:
    """Without system turns, which rows share and which say nothing of what is asked."""
    return "\n".join(filter(None, (_said(turn) for turn in turns if turn["role"] != "system")))


def _said(turn: Message) -> str:
    """The text of a turn and the functions that it calls."""
    calls = (call["function"] for call in turn.get("tool_calls", ()))
    shown = (json.dumps(call, ensure_ascii=False, sort_keys=True) for call in calls)
    return "\n".join(filter(None, [str(turn["content"]), *shown]))


def _mapped(example: Example, change: Callable[[str], str]) -> Example:
    match example:
        case Document(text, pages):
            changed = change(text)
            return Document(changed, pages if changed == text else ())
        case Prompt(conversation, answer):
            return Prompt(_conversation(conversation, change), change(answer))
        case Feedback(conversation, desirable):
            return Feedback(_conversation(conversation, change), desirable)
        case Preference(prompt, chosen, rejected):
            turns, (first, second) = _alike(prompt, [chosen, rejected], change)
            return Preference(turns, first, second)
        case Ranking(prompt, answers, scores):
            turns, others = _alike(prompt, answers, change)
            return Ranking(turns, others, scores)
        case Conversation():
            return _conversation(example, change)


def _alike(
    prompt: list[Message], answers: list[Conversation], change: Callable[[str], str]
) -> tuple[list[Message], list[Conversation]]:
    """A prompt and the conversations that begin with it; prompt and tools are read once."""
    turns, tools = _value(prompt, change), _value(answers[0].tools, change)
    rest = [_value(answer.messages[len(prompt) :], change) for answer in answers]
    return turns, [
        replace(answer, messages=[*turns, *said], tools=tools)
        for answer, said in zip(answers, rest, strict=True)
    ]


def _conversation(conversation: Conversation, change: Callable[[str], str]) -> Conversation:
    return replace(
        conversation,
        messages=_value(conversation.messages, change),
        tools=_value(conversation.tools, change),
    )


def _value(value: Any, change: Callable[[str], str], kept: frozenset[str] = _KEPT) -> Any:
    """`value` with all texts in it changed, but for names that turns and schemas have."""
    if isinstance(value, str):
        return change(value)
    if isinstance(value, list):
        return [_value(item, change, kept) for item in value]
    if isinstance(value, dict):
        return {key: _entry(key, item, change, kept) for key, item in value.items()}
    return value


def _entry(key: str, item: Any, change: Callable[[str], str], kept: frozenset[str]) -> Any:
    if key in kept:
        return item
    return _argument(item, change) if key == "arguments" else _value(item, change, kept)


def _argument(value: Any, change: Callable[[str], str]) -> Any:
    """The same of what a function is called with: no name in it is one of ours."""
    if isinstance(value, dict):
        return {change(key): _argument(item, change) for key, item in value.items()}
    if isinstance(value, list):
        return [_argument(item, change) for item in value]
    return _value(value, change)
