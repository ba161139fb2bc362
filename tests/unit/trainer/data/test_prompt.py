"""Prompts in the ways that people write them, their right answers, and what is no prompt."""

from typing import Any

import pytest
from finetune_api.errors import UserError
from finetune_api.spec import DataSource, Method
from finetune_trainer.data.conversation import Message
from finetune_trainer.data.faults import Fault, InvalidRow
from finetune_trainer.data.prompt import Prompt
from finetune_trainer.data.shapes import Shape, detect

ASK: Message = {"role": "user", "content": "Ask"}
ANSWER: Message = {"role": "assistant", "content": "Answer"}
CALL = {"type": "function", "function": {"name": "look_up", "arguments": {}}}
ROW = {"prompt": "Ask", "answer": "42"}


def shape(row: dict[str, Any], *, needs_answer: bool = False, **options: Any) -> Shape:
    source = DataSource(uri="s3://b/prompts.jsonl", **options)
    return detect(source, [row], Method.GRPO, needs_answer=needs_answer)


def read(row: dict[str, Any], *, among: dict[str, Any] | None = None, **options: Any) -> Prompt:
    found = shape(among or row, **options).reader.read(row)
    assert isinstance(found, Prompt)
    return found


@pytest.mark.parametrize(
    ("row", "fields"),
    [
        ({"prompt": "Ask"}, {}),
        ({"prompt": [ASK]}, {}),
        ({"messages": [ASK]}, {}),
        ({"conversations": [{"from": "human", "value": "Ask"}]}, {}),
        ({"question": "Ask"}, {"prompt": "question"}),
        ({"chat": [ASK]}, {"messages": "chat"}),
        ({"prompt": "Ask", "completion": "Answer"}, {}),
        ({"prompt": "Ask", "chosen": "Answer", "rejected": "Well"}, {}),
        ({"prompt": "Ask", "messages": [ASK, ANSWER]}, {}),
    ],
    ids=[
        *("text", "turns", "messages", "ShareGPT", "column map", "mapped messages"),
        *("beside a completion", "beside a pair", "beside a conversation"),
    ],
)
def test_prompts_are_read_in_every_usual_way(row: dict[str, Any], fields: dict[str, str]) -> None:
    found = read(row, fields=fields or None)

    assert found.conversation.messages == [ASK]
    assert found.answer == ""


def test_a_prompt_may_have_a_system_turn_tools_and_what_they_gave() -> None:
    call = {"role": "assistant", "content": "", "tool_calls": [CALL]}
    given = {"role": "tool", "content": "42"}
    row = {
        "messages": [ASK, call, given],
        "system": "Be brief",
        "tools": [{"name": "look_up"}],
    }

    found = read(row).conversation

    roles = [message["role"] for message in found.messages]
    assert roles == ["system", "user", "assistant", "tool"]
    assert found.tools == [{"type": "function", "function": {"name": "look_up"}}]


@pytest.mark.parametrize(
    ("answer", "text"),
    [("42", "42"), (" 4 2\n", " 4 2\n"), (42, "42"), (4.5, "4.5"), (-1, "-1"), (None, "")],
)
def test_the_right_answer_is_kept_as_text(answer: object, text: str) -> None:
    assert read({**ROW, "answer": answer}).answer == text


def test_the_right_answer_may_stand_in_another_column_and_begin_late() -> None:
    row = {"prompt": "Ask", "solution": 7, "answer": "no"}

    assert read(row, fields={"answer": "solution"}).answer == "7"
    assert read(ROW, among={"prompt": "Ask"}).answer == "42"


def test_the_columns_that_are_read_are_named() -> None:
    assert shape(ROW).name == "Prompt (prompts: prompt, answer)"
    assert shape({"messages": [ASK], "system": ""}).name == "Prompt (messages: messages, system)"


@pytest.mark.parametrize(
    ("row", "fault", "field", "said"),
    [
        ({"prompt": ""}, Fault.EMPTY, "prompt", "empty"),
        ({"prompt": None}, Fault.MISSING, "prompt", "missing"),
        ({"prompt": 5}, Fault.TYPE, "prompt", "must be text or turns, is a number"),
        (
            {"prompt": [ASK, ANSWER]},
            Fault.TURNS,
            "prompt",
            "ends with a turn of the assistant, .* rows with answers are for SFT",
        ),
        (
            {"prompt": [ASK, {"role": "system", "content": "Be brief"}]},
            Fault.TURNS,
            "prompt",
            "ends with a turn of the system",
        ),
        ({"prompt": [{"role": "tool", "content": "4"}]}, Fault.TURNS, "prompt", "no turn of the u"),
        ({"answer": True}, Fault.TYPE, "answer", "text or a number, is a boolean"),
        ({"answer": ["4"]}, Fault.TYPE, "answer", "text or a number, is a list"),
        ({"answer": float("nan")}, Fault.TYPE, "answer", "no finite number"),
        ({"answer": "\ud800"}, Fault.ENCODING, "answer", "surrogate"),
    ],
)
def test_what_is_no_prompt_is_named(
    row: dict[str, Any], fault: Fault, field: str, said: str
) -> None:
    with pytest.raises(InvalidRow, match=said) as caught:
        read({**ROW, **row}, among=ROW)

    assert (caught.value.fault, caught.value.field) == (fault, field)


@pytest.mark.parametrize(
    ("row", "fault", "said"),
    [
        ({"prompt": "Ask"}, Fault.MISSING, "missing, with which .* ExactAnswer compares"),
        ({"prompt": "Ask", "answer": None}, Fault.MISSING, "missing"),
        ({"prompt": "Ask", "answer": " "}, Fault.EMPTY, "empty"),
    ],
)
def test_a_row_without_the_answer_that_rewards_need_is_invalid(
    row: dict[str, Any], fault: Fault, said: str
) -> None:
    with pytest.raises(InvalidRow, match=said) as caught:
        read(row, needs_answer=True)

    assert (caught.value.fault, caught.value.field) == (fault, "answer")


def test_a_mapped_answer_that_no_row_has_is_refused() -> None:
    with pytest.raises(UserError, match="maps answer to solution, which no row has"):
        shape(ROW, fields={"answer": "solution"})
