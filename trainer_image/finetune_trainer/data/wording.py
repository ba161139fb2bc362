"""All words of an example, to be looked at or replaced, and its prompt and answer as text."""

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
            turns = example.assistant_turns()
            return [str(example.messages[turn]["content"]) for turn in turns]
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
    spoken = (turn for turn in turns if turn["role"] != "system" and turn["content"])
    return "\n".join(str(turn["content"]) for turn in spoken)


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
            return Preference(
                _value(prompt, change),
                _conversation(chosen, change),
                _conversation(rejected, change),
            )
        case Ranking(prompt, answers, scores):
            turns = _value(prompt, change)
            return Ranking(turns, [_conversation(each, change) for each in answers], scores)
        case Conversation():
            return _conversation(example, change)


def _conversation(conversation: Conversation, change: Callable[[str], str]) -> Conversation:
    return replace(
        conversation,
        messages=_value(conversation.messages, change),
        tools=_value(conversation.tools, change),
    )


def _value(value: Any, change: Callable[[str], str]) -> Any:
    """`value` with all texts in it changed, but for names."""
    if isinstance(value, str):
        return change(value)
    if isinstance(value, list):
        return [_value(item, change) for item in value]
    if isinstance(value, dict):
        return {key: item if key in _KEPT else _value(item, change) for key, item in value.items()}
    return value
