"""Prompts that the model answers itself: their tokens, their right answers and their room."""

from typing import Any

import pytest
from finetune_api.errors import UserError
from finetune_api.messages import PrepareMessage
from finetune_api.reasons import Reason
from finetune_api.units import Unit
from finetune_trainer.preparation.run import RefusedDataError
from finetune_trainer.prepared_files import ANSWER_FILES

from tests.unit.trainer.data.conftest import CHATML, make_tokenizer
from tests.unit.trainer.prepare.conftest import World, learnt, prepared, report, text

EXACT = {"type": "ExactAnswer"}


def prompts(count: int) -> list[dict[str, Any]]:
    return [{"prompt": f"What is {n} and {n}?", "answer": 2 * n} for n in range(count)]


def prepare(
    world: World, *functions: dict[str, Any], room: int = 16, **changes: Any
) -> PrepareMessage:
    """Prepare rows.jsonl for answers of `room` tokens."""
    grpo = {"maxNewTokens": room, "rewardFunctions": [*(functions or [{"type": "JsonValid"}])]}
    length = {"sequenceLength": 64}
    return world.prepare(**{"method": "GRPO", "grpo": grpo, "training": length, **changes})


def test_prompts_keep_their_right_answers_through_the_split(world: World) -> None:
    world.rows("rows.jsonl", prompts(40))

    message = prepare(world, EXACT)

    data = prepared(message)
    assert message.data is not None
    assert data.metadata.unit is message.data.unit is Unit.PROMPT
    assert message.message.startswith("32 training prompts, ")
    assert (message.data.rows, message.data.evaluation_rows) == (32, 8)
    assert data.answers is not None
    for split, answers in zip((data.train, data.evaluation), data.answers, strict=True):
        assert split.label_counts.tolist() == [0] * len(split)
        assert split.unit_offsets.tolist() == list(range(len(split) + 1))
        expected = [str(2 * (row - 1)) for row in split.source_rows.tolist()]
        assert [answers[row] for row in range(len(answers))] == expected


def test_the_report_and_the_samples_show_prompts_with_their_answers(world: World) -> None:
    world.rows("rows.jsonl", prompts(40))

    message = prepare(world)

    made = report(message)
    shown = made["samples"][0]
    assert (made["unit"], made["labelTokens"], made.get("warnings")) == ("Prompt", 0, [])
    assert text(shown["rows"][0]).endswith("0 and 0?<|im_end|>\n<|im_start|>assistant\n")
    assert (learnt(shown["rows"][0]), shown["answer"]) == ([], "0")
    data = prepared(message)
    sample, number = data.metadata.samples[0], int(data.evaluation.source_rows[0]) - 1
    question = f"What is {number} and {number}?"
    assert sample.prompt_messages == [{"role": "user", "content": question}]
    assert sample.prompt_text_rendered.endswith("<|im_end|>\n<|im_start|>assistant\n")
    assert sample.answer_reference == str(2 * number)


def test_rows_without_right_answers_have_no_files_of_them(world: World) -> None:
    world.rows("rows.jsonl", [{"prompt": row["prompt"]} for row in prompts(40)])

    data = prepared(prepare(world))

    assert data.answers is None
    assert not set(ANSWER_FILES) & data.metadata.files.keys()
    assert {sample.answer_reference for sample in data.metadata.samples} == {""}


def test_given_evaluation_prompts_have_answers_of_their_own(world: World) -> None:
    train = world.rows("rows.jsonl", [{"prompt": row["prompt"]} for row in prompts(5)])
    uri = world.rows("dev.jsonl", [{"prompt": "What is 1 and 1?", "solution": "two"}])
    evaluation = [{"uri": uri, "fields": {"answer": "solution"}}]

    message = prepare(world, data={"train": [{"uri": train}], "evaluation": evaluation})

    data = prepared(message)
    assert data.answers is not None
    assert [len(texts) for texts in data.answers] == [5, 1]
    assert (data.answers[0][4], data.answers[1][0]) == ("", "two")
    assert report(message)["warnings"] == ["1 training prompts are also evaluation prompts"]


def test_a_prompt_that_leaves_no_room_for_its_answer_is_dropped_and_named(world: World) -> None:
    long = {"prompt": "word " * 6, "answer": "4"}
    uri = world.rows("rows.jsonl", [*prompts(3), long])
    data = {"train": [{"uri": uri}], "checks": {"maxTooLongShare": "0.25"}}
    room = 64 - int(report(prepare(world, room=1))["longest"])

    fits = prepare(world, room=room)
    message = prepare(world, room=room + 1, data=data)
    with pytest.raises(RefusedDataError) as caught:
        prepare(world, room=room + 1)

    made = report(message)
    assert message.data is not None
    assert report(fits)["tooLong"] == 0
    assert made["tooLong"] == message.data.dropped == 1
    assert made["trainingUnits"] == 3
    assert caught.value.where == f"{uri}:4"
    assert caught.value.message.startswith(
        f"1 of 4 rows are longer than training.sequenceLength 64 less grpo.maxNewTokens {room + 1};"
    )
    (named,) = caught.value.data.first_errors or []
    assert named.message == (
        f"{64 - room} tokens; training.sequenceLength is 64, of which grpo.maxNewTokens keeps "
        f"{room + 1} for the answer"
    )


def test_rows_without_the_answer_that_rewards_need_end_the_job(world: World) -> None:
    uri = world.rows("rows.jsonl", [*prompts(30), {"prompt": "What?"}, *prompts(5)])
    data = {"train": [{"uri": uri}], "checks": {"maxInvalidRows": 1}}

    with pytest.raises(RefusedDataError) as caught:
        prepare(world, EXACT)
    dropped = prepare(world, EXACT, data=data).data
    kept = prepare(world, data=data).data

    assert caught.value.reason is Reason.INVALID_DATA
    assert caught.value.where == f"{uri}:31"
    (named,) = caught.value.data.first_errors or []
    assert named.field == "answer"
    assert named.message.startswith("the field is missing")
    assert dropped is not None
    assert kept is not None
    assert (dropped.dropped, kept.dropped) == (1, 0)


def test_conversations_that_are_answered_already_are_refused(world: World) -> None:
    turns = [{"role": "user", "content": "Ask"}, {"role": "assistant", "content": "Answer"}]
    uri = world.rows("rows.jsonl", [{"messages": turns}] * 40)

    with pytest.raises(RefusedDataError, match=r"messages: ends with a turn of the assistant.*SFT"):
        prepare(world)
    with pytest.raises(RefusedDataError, match="no training row is left"):
        prepare(world, data={"train": [{"uri": uri}], "checks": {"maxInvalidRows": 40}})


def test_equal_prompts_stay_on_one_side(world: World) -> None:
    world.rows("rows.jsonl", prompts(10) * 4)

    data = prepared(prepare(world))

    assert len(data.evaluation)
    assert not set(data.train.group_ids.tolist()) & set(data.evaluation.group_ids.tolist())


def test_the_hash_of_prompts_follows_their_room_and_the_answers_they_need(world: World) -> None:
    world.rows("rows.jsonl", prompts(40))

    made = [prepare(world), prepare(world, room=17), prepare(world, EXACT)]
    again = prepare(world, {"type": "JsonValid", "weight": "2"})

    hashes = [message.prepared.data_hash for message in made if message.prepared]
    assert len(set(hashes)) == 3
    assert again.prepared is not None
    assert again.prepared.data_hash == hashes[0]


def test_a_tokenizer_that_cannot_end_an_answer_is_refused(world: World) -> None:
    tokenizer = make_tokenizer(CHATML)
    tokenizer.eos_token = None
    tokenizer.save_pretrained(world.model)
    world.rows("rows.jsonl", prompts(40))

    with pytest.raises(UserError, match="with which the model's answers end") as caught:
        prepare(world)

    assert caught.value.reason is Reason.MODEL_INVALID
