"""The shape of rows is found, and what fits is said when it is not."""

from typing import Any

import pytest
from finetune_api.errors import UserError
from finetune_api.reasons import Reason
from finetune_api.spec import DataSource, Method, RowFormat
from finetune_trainer.data.conversation import Conversation, Message
from finetune_trainer.data.document import Document
from finetune_trainer.data.faults import Fault, InvalidRow
from finetune_trainer.data.shapes import detect

DOLLY = {"instruction": "Ask", "context": "Text", "response": "Answer", "category": "qa"}
ALPACA = {"instruction": "Ask", "input": "Text", "output": "Answer"}
TURNS = [{"role": "user", "content": "Ask"}, {"role": "assistant", "content": "Answer"}]

JUDGED = {"prompt": "a", "completion": "b", "label": False}
PAIR = {"prompt": "Ask", "chosen": "Answer", "rejected": "Well"}


def source(**options: Any) -> DataSource:
    return DataSource(uri="s3://b/rows.jsonl", **options)


def read(row: dict[str, Any], **options: Any) -> list[Message]:
    return conversation(row, **options).messages


def conversation(row: dict[str, Any], **options: Any) -> Conversation:
    found = detect(source(**options), [row], Method.SFT).reader.read(row)
    assert isinstance(found, Conversation)
    return found


def document(row: dict[str, Any], **options: Any) -> str:
    found = detect(source(**options), [row], Method.CPT).reader.read(row)
    assert isinstance(found, Document)
    return found.text


def refused(row: dict[str, Any], **options: Any) -> InvalidRow:
    """The fault of `row` among rows that are good."""
    good = {**DOLLY} if "instruction" in row else {"messages": TURNS}
    with pytest.raises(InvalidRow) as caught:
        detect(source(**options), [good], Method.SFT).reader.read(row)
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
    found = conversation(row)

    assert [message["role"] for message in found.messages] == [
        "user",
        "assistant",
        "tool",
        "assistant",
    ]
    call = {"type": "function", "function": {"name": "f", "arguments": {"x": 1}}}
    assert found.messages[1]["tool_calls"] == [call]
    assert found.tools == [{"type": "function", "function": {"name": "f", "parameters": {}}}]


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

    assert conversation(row).unweighted == {3}


@pytest.mark.parametrize(
    ("row", "fault", "field"),
    [
        ({"instruction": "Ask", "context": ""}, Fault.MISSING, "response"),
        ({**DOLLY, "instruction": " "}, Fault.EMPTY, "instruction"),
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
        detect(source(template="ok\n{% if %}"), [DOLLY], Method.SFT)

    assert caught.value.reason is Reason.INVALID_SPEC
    assert caught.value.where == "s3://b/rows.jsonl template"


@pytest.mark.parametrize(
    ("row", "options", "said"),
    [
        ({"prompt": "a", "answer": "b"}, {}, "columns found: answer, prompt"),
        (DOLLY, {"format": RowFormat.MESSAGES}, "not of the format Messages"),
        (DOLLY, {"fields": {"instruction": "question"}}, "no row has all columns"),
        (DOLLY, {"fields": {"question": "instruction"}}, "fields maps question"),
        (DOLLY, {"fields": {"system": "persona"}}, "maps system to persona"),
        ({"messages": TURNS}, {"template": "x"}, "template applies to Instruction rows"),
        ({"messages": TURNS}, {"fields": {"context": "x"}}, "fields maps context, which Messages"),
        ({"messages": TURNS}, {"fields": {"answer": "x"}}, "fields maps answer, which Messages"),
    ],
)
def test_what_does_not_fit_is_refused_in_words(
    row: dict[str, Any], options: dict[str, Any], said: str
) -> None:
    with pytest.raises(UserError, match=said) as caught:
        detect(source(**options), [row], Method.SFT)

    assert caught.value.where == "s3://b/rows.jsonl"


@pytest.mark.parametrize(
    ("row", "method", "said"),
    [
        (PAIR, Method.SFT, "of the format Preference .* fit method Reward, DPO, KTO, ORPO"),
        (PAIR, Method.CPT, "of the format Preference .* fit method Reward, DPO, KTO, ORPO"),
        (JUDGED, Method.SFT, "of the format Feedback .* fit method KTO"),
        (JUDGED, Method.DPO, "fit method SFT|fit method KTO"),
        ({**PAIR, "conversations": TURNS}, Method.SFT, "fit method Reward, DPO, KTO, ORPO"),
        ({"messages": TURNS}, Method.CPT, "of the format Messages .* fit method SFT"),
        (DOLLY, Method.CPT, "of the format Instruction .* fit method SFT"),
        (DOLLY, Method.DPO, "fit method SFT"),
        ({"prompt": "a", "completion": "b"}, Method.DPO, "PromptCompletion .* fit method SFT"),
        ({"text": "a"}, Method.SFT, "of the format Text .* fit method CPT"),
        ({"prompt": "a"}, Method.SFT, "of the format Prompt .* fit method PPO, GRPO"),
        (
            {"prompt": "a", "answer": "b"},
            Method.DPO,
            "of the format Prompt .* fit method PPO, GRPO",
        ),
        (DOLLY, Method.GRPO, "of the format Instruction .* fit method SFT"),
        ({"text": "a"}, Method.GRPO, "of the format Text .* fit method CPT"),
        ({"chosen": TURNS, "rejected": TURNS}, Method.GRPO, "fit method Reward, DPO, KTO, ORPO"),
    ],
)
def test_rows_of_another_method_are_refused_with_the_method_that_they_fit(
    row: dict[str, Any], method: Method, said: str
) -> None:
    with pytest.raises(UserError, match=said):
        detect(source(), [row], method)


def test_conversations_of_pairs_are_read_where_it_is_asked_for() -> None:
    row = {"chosen_messages": TURNS, "rejected_messages": TURNS}

    assert read(row, fields={"messages": "chosen_messages"}) == TURNS


def test_among_several_shapes_in_a_row_the_methods_own_is_read() -> None:
    row = {"messages": TURNS, "text": "A page"}

    assert read(row) == TURNS
    assert document(row) == "A page"


def test_a_prompt_and_its_completion_are_a_turn_and_its_answer() -> None:
    row = {"prompt": "Ask", "completion": "Answer", "system": "Be brief"}

    assert read(row) == [{"role": "system", "content": "Be brief"}, *TURNS]
    mapped = {"q": "Ask", "a": "Answer"}
    assert read(mapped, fields={"prompt": "q", "completion": "a"}) == TURNS


def test_a_template_makes_a_document_of_its_columns() -> None:
    row = {"title": "Drum", "body": "Turns."}
    template = "# {{ title }}\n{{ text }}"

    assert document(row, fields={"text": "body"}, template=template) == "# Drum\nTurns."
    assert document(row, fields={"text": "body"}) == "Turns."


def test_a_document_that_lacks_a_column_of_the_template_is_invalid() -> None:
    with pytest.raises(InvalidRow, match="'title' is undefined") as caught:
        document({"text": "Turns."}, template="{{ title }} {{ text }}")

    assert (caught.value.fault, caught.value.field) == (Fault.TEMPLATE, "template")


def test_the_shape_is_the_one_that_most_rows_have() -> None:
    assert detect(source(), [ALPACA, DOLLY, DOLLY], Method.SFT).name.startswith(
        "Instruction (dolly"
    )
