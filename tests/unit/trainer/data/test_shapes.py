"""The shape of rows is found, and what fits is said when it is not."""

from typing import Any

import pytest
from finetune_api.errors import UserError
from finetune_api.reasons import Reason
from finetune_api.spec import DataSource, RowFormat
from finetune_trainer.data.conversation import Message
from finetune_trainer.data.faults import Fault, InvalidRow
from finetune_trainer.data.shapes import detect

DOLLY = {"instruction": "Ask", "context": "Text", "response": "Answer", "category": "qa"}
ALPACA = {"instruction": "Ask", "input": "Text", "output": "Answer"}
TURNS = [{"role": "user", "content": "Ask"}, {"role": "assistant", "content": "Answer"}]


def source(**options: Any) -> DataSource:
    return DataSource(uri="s3://b/rows.jsonl", **options)


def read(row: dict[str, Any], **options: Any) -> list[Message]:
    return detect(source(**options), [row]).reader.conversation(row).messages


def refused(row: dict[str, Any], **options: Any) -> InvalidRow:
    """The fault of `row` among rows that are good."""
    good = {**DOLLY} if "instruction" in row else {"messages": TURNS}
    with pytest.raises(InvalidRow) as caught:
        detect(source(**options), [good]).reader.conversation(row)
    return caught.value


@pytest.mark.parametrize("row", [DOLLY, ALPACA])
def test_the_context_follows_the_instruction_after_an_empty_line(row: dict[str, Any]) -> None:
    assert read(row) == [
        {"role": "user", "content": "Ask\n\nText"},
        {"role": "assistant", "content": "Answer"},
    ]


@pytest.mark.parametrize("context", ["", "  ", None])
def test_an_empty_context_adds_nothing(context: str | None) -> None:
    assert read({**DOLLY, "context": context})[0]["content"] == "Ask"


def test_a_system_column_becomes_the_first_turn() -> None:
    assert read({**ALPACA, "system": "Be brief"})[0] == {"role": "system", "content": "Be brief"}
    assert read({"messages": TURNS, "system": "Be brief"})[0]["role"] == "system"


def test_columns_are_mapped() -> None:
    row = {"frage": "Ask", "antwort": "Answer", "text": "Text"}
    fields = {"instruction": "frage", "response": "antwort", "context": "text"}

    assert read(row, fields=fields)[0]["content"] == "Ask\n\nText"


def test_a_template_makes_the_users_turn() -> None:
    template = "Q: {{ instruction | upper }}{% if context %} C: {{ context }}{% endif %}"

    assert read(DOLLY, template=template)[0]["content"] == "Q: ASK C: Text"


def test_sharegpt_roles_become_those_of_chat_templates() -> None:
    row = {
        "conversations": [
            {"from": "human", "value": "Ask"},
            {"from": "function_call", "value": '{"name": "f", "arguments": {"x": 1}}'},
            {"from": "observation", "value": "42"},
            {"from": "gpt", "value": "Answer"},
        ],
        "tools": '[{"name": "f", "parameters": {}}]',
    }
    conversation = detect(source(), [row]).reader.conversation(row)

    assert [message["role"] for message in conversation.messages] == [
        "user",
        "assistant",
        "tool",
        "assistant",
    ]
    call = {"type": "function", "function": {"name": "f", "arguments": {"x": 1}}}
    assert conversation.messages[1]["tool_calls"] == [call]
    assert conversation.tools == [{"type": "function", "function": {"name": "f", "parameters": {}}}]


@pytest.mark.parametrize("key", ["text", "value"])
def test_content_in_parts_is_joined(key: str) -> None:
    parts = [{"type": "text", key: "As"}, {"type": "text", key: "k"}]

    assert read({"messages": [{"role": "user", "content": parts}, TURNS[1]]})[0]["content"] == "Ask"


def test_arguments_of_openai_calls_are_parsed() -> None:
    call = {"id": "1", "type": "function", "function": {"name": "f", "arguments": '{"x": 1}'}}
    row = {"messages": [TURNS[0], {"role": "assistant", "content": None, "tool_calls": [call]}]}

    assert read(row)[1]["tool_calls"][0]["function"]["arguments"] == {"x": 1}


def test_a_turn_of_weight_zero_is_not_learnt() -> None:
    row = {"messages": [*TURNS, TURNS[0], {**TURNS[1], "loss_weight": 0.0}]}

    assert detect(source(), [row]).reader.conversation(row).unweighted == {3}


@pytest.mark.parametrize(
    ("row", "fault", "field"),
    [
        ({"instruction": "Ask", "context": ""}, Fault.MISSING, "response"),
        ({**DOLLY, "response": " \n"}, Fault.EMPTY, "response"),
        ({**DOLLY, "instruction": 5}, Fault.TYPE, "instruction"),
        ({**DOLLY, "context": ["x"]}, Fault.TYPE, "context"),
        ({**DOLLY, "response": "\ud800"}, Fault.ENCODING, "response"),
        ({"text": "x"}, Fault.MISSING, "messages"),
        ({"messages": "x"}, Fault.TYPE, "messages"),
        ({"messages": [TURNS[0]]}, Fault.TURNS, "messages"),
        ({"messages": [TURNS[0], "x"]}, Fault.TURNS, "messages[2]"),
        ({"messages": [{"role": "poet", "content": "x"}]}, Fault.TURNS, "messages[1]"),
        ({"messages": [TURNS[0], {**TURNS[1], "content": ""}]}, Fault.EMPTY, "messages[2]"),
        ({"messages": [TURNS[0], {**TURNS[1], "content": 1}]}, Fault.TYPE, "messages[2]"),
        (
            {"messages": [{"role": "user", "content": [{"type": "image"}]}]},
            Fault.TYPE,
            "messages[1]",
        ),
        ({"messages": [TURNS[0], {**TURNS[1], "weight": 0.5}]}, Fault.TURNS, "messages[2]"),
        ({"messages": [TURNS[0], {**TURNS[1], "weight": 0}]}, Fault.NO_LABELS, "messages"),
        (
            {"messages": [{"from": "function_call", "value": "f(x)"}]},
            Fault.TOOLS,
            "messages[1]",
        ),
    ],
)
def test_a_bad_row_names_its_field(row: dict[str, Any], fault: Fault, field: str) -> None:
    found = refused(row)

    assert (found.fault, found.field) == (fault, field)


@pytest.mark.parametrize(
    ("template", "said"),
    [
        ("{{ nothing }}", "'nothing' is undefined"),
        ("{{ instruction.__class__.__mro__ }}", "unsafe"),
        ("{{ 1 / 0 }}", "ZeroDivisionError"),
        ("{% if false %}x{% endif %}", "no text"),
    ],
)
def test_a_template_that_fails_on_a_row_is_told(template: str, said: str) -> None:
    fault = refused(DOLLY, template=template)

    assert fault.field == "template"
    assert said in fault.message


def test_a_broken_template_is_refused_with_its_line() -> None:
    with pytest.raises(UserError, match="line 2") as caught:
        detect(source(template="ok\n{% if %}"), [DOLLY])

    assert caught.value.reason is Reason.INVALID_SPEC
    assert caught.value.where == "s3://b/rows.jsonl template"


@pytest.mark.parametrize(
    ("row", "options", "said"),
    [
        ({"prompt": "a", "answer": "b"}, {}, "columns found: answer, prompt"),
        ({"chosen": "a", "rejected": "b", "conversations": []}, {}, "preference pairs"),
        (DOLLY, {"format": RowFormat.MESSAGES}, "not of the format Messages"),
        (DOLLY, {"fields": {"instruction": "question"}}, "no row has all columns"),
        (DOLLY, {"fields": {"question": "instruction"}}, "fields maps question"),
        (DOLLY, {"fields": {"system": "persona"}}, "maps system to persona"),
        ({"messages": TURNS}, {"template": "x"}, "template applies to Instruction rows"),
    ],
)
def test_what_does_not_fit_is_refused_in_words(
    row: dict[str, Any], options: dict[str, Any], said: str
) -> None:
    with pytest.raises(UserError, match=said) as caught:
        detect(source(**options), [row])

    assert caught.value.where == "s3://b/rows.jsonl"


def test_the_shape_is_the_one_that_most_rows_have() -> None:
    assert detect(source(), [ALPACA, DOLLY, DOLLY]).name.startswith("Instruction (dolly")
