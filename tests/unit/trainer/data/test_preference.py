"""Pairs in the ways that people write them, and what makes a row no pair."""

from typing import Any

import pytest
from finetune_api.spec import DataSource, Method
from finetune_trainer.data.conversation import Message
from finetune_trainer.data.faults import Fault, InvalidRow
from finetune_trainer.data.preference import Preference
from finetune_trainer.data.shapes import detect

ASK: Message = {"role": "user", "content": "Ask"}
GOOD: Message = {"role": "assistant", "content": "Answer"}
BAD: Message = {"role": "assistant", "content": "Well"}
SYSTEM: Message = {"role": "system", "content": "Be brief"}
TOOL = {"type": "function", "function": {"name": "f", "parameters": {}}}
PLAIN = {"prompt": "Ask", "chosen": "Answer", "rejected": "Well"}
WHOLE = {"chosen": [ASK, GOOD], "rejected": [ASK, BAD]}


def read(row: dict[str, Any], *, among: dict[str, Any] | None = None, **options: Any) -> Preference:
    """The pair in `row`, of a file whose rows are like `among`."""
    source = DataSource(uri="s3://b/pairs.jsonl", **options)
    found = detect(source, [among or row], Method.DPO).reader.read(row)
    assert isinstance(found, Preference)
    return found


@pytest.mark.parametrize(
    "row",
    [
        PLAIN,
        {**PLAIN, "prompt": [ASK]},
        {**PLAIN, "chosen": GOOD, "rejected": BAD},
        {**PLAIN, "chosen": [GOOD], "rejected": "Well"},
        {"prompt": "Ask", **WHOLE},
        {"prompt": [ASK], **WHOLE},
        WHOLE,
        {"chosen_messages": WHOLE["chosen"], "rejected_messages": WHOLE["rejected"]},
        {
            "conversations": [{"from": "human", "value": "Ask"}],
            "chosen": {"from": "gpt", "value": "Answer"},
            "rejected": {"from": "gpt", "value": "Well"},
        },
    ],
    ids=[
        "texts",
        "turns before texts",
        "turns as answers",
        "a list and a text",
        "a text before whole conversations",
        "turns before whole conversations",
        "conversations that begin alike",
        "columns of messages",
        "ShareGPT",
    ],
)
def test_pairs_are_read_in_every_usual_way(row: dict[str, Any]) -> None:
    pair = read(row)

    assert pair.prompt == [ASK]
    assert pair.chosen.messages == [ASK, GOOD]
    assert pair.rejected.messages == [ASK, BAD]


def test_columns_are_mapped() -> None:
    row = {"question": "Ask", "best": "Answer", "worst": "Well"}
    fields = {"prompt": "question", "chosen": "best", "rejected": "worst"}

    assert read(row, fields=fields) == read(PLAIN)


def test_answers_within_the_prompt_are_read_and_not_learnt() -> None:
    prompt = [ASK, GOOD, {"role": "user", "content": "More"}]
    pair = read({"chosen": [*prompt, GOOD], "rejected": [*prompt, BAD]})

    assert pair.prompt == prompt
    assert pair.chosen.unweighted == pair.rejected.unweighted == {1}


def test_a_turn_of_weight_zero_is_not_learnt() -> None:
    follow = [{**GOOD, "loss_weight": 0}, {"role": "user", "content": "More"}, GOOD]

    assert read({**PLAIN, "chosen": follow}).chosen.unweighted == {1}


def test_system_and_tools_columns_stand_before_both_sides() -> None:
    pair = read({**PLAIN, "system": "Be brief", "tools": [TOOL]})

    assert pair.prompt == [SYSTEM, ASK]
    assert pair.rejected.messages == [SYSTEM, ASK, BAD]
    assert pair.chosen.tools == pair.rejected.tools == [TOOL]


def test_a_system_turn_before_whole_conversations_belongs_to_the_prompt() -> None:
    row = {"prompt": "Ask", "chosen": [SYSTEM, ASK, GOOD], "rejected": [SYSTEM, ASK, BAD]}

    assert read(row).prompt == [SYSTEM, ASK]


def test_where_most_rows_have_a_prompt_it_is_read_and_asked_of_all() -> None:
    source = DataSource(uri="s3://b/pairs.jsonl")
    reader = detect(source, [PLAIN, WHOLE, PLAIN], Method.DPO).reader

    assert reader.read(PLAIN) == read(PLAIN)
    with pytest.raises(InvalidRow) as caught:
        reader.read(WHOLE)
    assert caught.value.field == "prompt"


@pytest.mark.parametrize(
    ("row", "fault", "field"),
    [
        ({"prompt": "Ask", "chosen": "Answer"}, Fault.MISSING, "rejected"),
        ({**PLAIN, "prompt": None}, Fault.MISSING, "prompt"),
        ({**PLAIN, "prompt": " "}, Fault.EMPTY, "prompt"),
        ({**PLAIN, "prompt": []}, Fault.EMPTY, "prompt"),
        ({**PLAIN, "prompt": [SYSTEM]}, Fault.TURNS, "prompt"),
        ({**PLAIN, "rejected": ""}, Fault.EMPTY, "rejected"),
        ({**PLAIN, "rejected": []}, Fault.EMPTY, "rejected"),
        ({**PLAIN, "rejected": 3}, Fault.TYPE, "rejected"),
        ({**PLAIN, "rejected": "\ud800"}, Fault.ENCODING, "rejected"),
        ({**PLAIN, "rejected": [{"role": "poet", "content": "x"}]}, Fault.TURNS, "rejected[1]"),
        ({**PLAIN, "rejected": "Answer"}, Fault.PAIR, "rejected"),
        ({**PLAIN, "chosen": [{**GOOD, "weight": 0}]}, Fault.NO_LABELS, "chosen"),
        ({**PLAIN, "prompt": "Other", **WHOLE}, Fault.PAIR, "chosen"),
        ({**PLAIN, "chosen": [ASK, GOOD]}, Fault.PAIR, "rejected"),
    ],
)
def test_a_row_that_is_no_pair_names_its_field(
    row: dict[str, Any], fault: Fault, field: str
) -> None:
    with pytest.raises(InvalidRow) as caught:
        read(row, among=PLAIN)

    assert (caught.value.fault, caught.value.field) == (fault, field)


OTHER = {"role": "user", "content": "Other"}


@pytest.mark.parametrize(
    ("row", "fault", "field"),
    [
        ({"chosen": "Answer", "rejected": "Well"}, Fault.PAIR, "chosen"),
        ({"chosen": [ASK, GOOD], "rejected": [OTHER, BAD]}, Fault.PAIR, "rejected"),
        ({"chosen": [ASK, GOOD], "rejected": [ASK]}, Fault.EMPTY, "rejected"),
        ({"chosen": [ASK, GOOD], "rejected": [ASK, GOOD]}, Fault.EMPTY, "chosen"),
        (
            {"chosen": [ASK, GOOD, ASK, GOOD], "rejected": [ASK, GOOD, OTHER, BAD]},
            Fault.PAIR,
            "chosen",
        ),
    ],
)
def test_conversations_that_do_not_part_at_an_answer_are_refused(
    row: dict[str, Any], fault: Fault, field: str
) -> None:
    with pytest.raises(InvalidRow) as caught:
        read(row)

    assert (caught.value.fault, caught.value.field) == (fault, field)
