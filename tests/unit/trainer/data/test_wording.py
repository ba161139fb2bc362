"""All words of an example are seen, and can be replaced."""

from typing import Any

from finetune_trainer.data.conversation import Conversation
from finetune_trainer.data.preference import Preference
from finetune_trainer.data.wording import answers_of, prompt_and_answer, with_words, words_of

ASK: dict[str, Any] = {"role": "user", "content": "Send it to Ann."}


def call(arguments: dict[str, Any]) -> dict[str, Any]:
    function = {"name": "send", "arguments": arguments}
    return {
        "role": "assistant",
        "content": "",
        "tool_calls": [{"type": "function", "id": "call-1", "function": function}],
    }


def test_what_a_function_is_called_with_is_words_whatever_its_names_are() -> None:
    arguments = {"id": "one", "role": "two", "type": ["three"], "more": {"four": "five", "n": 6}}
    example = Conversation([ASK, call(arguments)])

    words = words_of(example)

    assert {"one", "two", "three", "four", "five"} <= set(words)
    assert not {"user", "assistant", "call-1", "function"} & set(words)
    shouted = with_words(example, [word.upper() for word in words])
    assert isinstance(shouted, Conversation)
    assert words_of(shouted) == [word.upper() for word in words]
    assert shouted.messages[1]["role"] == "assistant"
    assert shouted.messages[1]["tool_calls"][0]["id"] == "call-1"


def test_calls_with_other_arguments_are_other_answers() -> None:
    one, other = (Conversation([ASK, call({"to": name})]) for name in ("ann", "bob"))

    assert prompt_and_answer(one)[0] == prompt_and_answer(other)[0]
    assert prompt_and_answer(one)[1] != prompt_and_answer(other)[1]
    assert answers_of(one) != answers_of(other)


def test_the_prompt_of_a_pair_is_read_once() -> None:
    sides = [Conversation([ASK, {"role": "assistant", "content": text}]) for text in ("a", "b")]
    pair = Preference([ASK], *sides)

    assert words_of(pair) == ["Send it to Ann.", "a", "b"]
    changed = with_words(pair, ["Send it.", "c", "d"])
    assert isinstance(changed, Preference)
    assert [side.messages[0]["content"] for side in (changed.chosen, changed.rejected)] == [
        "Send it."
    ] * 2
    assert answers_of(changed) == ["c", "d"]
