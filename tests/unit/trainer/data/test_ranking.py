"""Scored answers: the best first, and what is no ranking."""

from typing import Any

import pytest
from finetune_api.spec import DataSource, Method
from finetune_trainer.data.conversation import Message
from finetune_trainer.data.faults import Fault, InvalidRow
from finetune_trainer.data.preference import Preference
from finetune_trainer.data.ranking import Ranking
from finetune_trainer.data.shapes import detect

ASK: Message = {"role": "user", "content": "Ask"}
ROW = {"prompt": "Ask", "responses": ["Bad", "Good", "Fair"], "scores": [1, 9, 4.5]}


def read(row: dict[str, Any], *, among: dict[str, Any] | None = None) -> Ranking:
    source = DataSource(uri="s3://b/rankings.jsonl")
    found = detect(source, [among or row], Method.REWARD).reader.read(row)
    assert isinstance(found, Ranking)
    return found


@pytest.mark.parametrize(
    "row",
    [
        ROW,
        {**ROW, "prompt": [ASK]},
        {"prompt": "Ask", "completions": ROW["responses"], "scores": ROW["scores"]},
        {
            **ROW,
            "responses": [{"role": "assistant", "content": text} for text in ("Bad", "Good")]
            + [[{"role": "assistant", "content": "Fair"}]],
        },
    ],
    ids=["texts", "turns as prompt", "another name", "turns as answers"],
)
def test_answers_come_from_the_best_to_the_worst(row: dict[str, Any]) -> None:
    ranking = read(row)

    assert ranking.prompt == [ASK]
    said = [answer.messages[-1]["content"] for answer in ranking.answers]
    assert said == ["Good", "Fair", "Bad"]
    assert ranking.scores == [9, 4.5, 1]


@pytest.mark.parametrize(
    ("changes", "fault", "field", "said"),
    [
        ({"scores": [1, 2]}, Fault.PAIR, "scores", "2 scores for 3 responses"),
        ({"scores": [2, 2, 2]}, Fault.PAIR, "scores", "all answers have the same score"),
        ({"scores": [1, 2, "3"]}, Fault.TYPE, "scores[3]", "must be a number, is text"),
        ({"scores": [1, 2, True]}, Fault.TYPE, "scores[3]", "is a boolean"),
        ({"scores": [1, 2, float("nan")]}, Fault.TYPE, "scores[3]", "no finite number"),
        ({"scores": [1, 2, 10**400]}, Fault.TYPE, "scores[3]", "too large"),
        ({"scores": [1, 2, 1e39]}, Fault.TYPE, "scores[3]", "too large"),
        ({"scores": [2**24, 2**24 + 1, 2**24]}, Fault.PAIR, "scores", "the same score"),
        ({"scores": None}, Fault.MISSING, "scores", "missing"),
        ({"responses": "Good"}, Fault.TYPE, "responses", "must be a list, is text"),
        ({"responses": ["a", "", "c"]}, Fault.EMPTY, "responses[2]", "empty"),
        ({"responses": ["a"], "scores": [1]}, Fault.PAIR, "responses", "2 to 32 answers, holds 1"),
        ({"prompt": ""}, Fault.EMPTY, "prompt", "empty"),
    ],
)
def test_what_is_no_ranking_is_named(
    changes: dict[str, Any], fault: Fault, field: str, said: str
) -> None:
    with pytest.raises(InvalidRow, match=said) as caught:
        read({**ROW, **changes}, among=ROW)
    assert (caught.value.fault, caught.value.field) == (fault, field)


def test_pairs_are_comparisons_of_two() -> None:
    row = {"prompt": "Ask", "chosen": "Good", "rejected": "Bad"}

    found = detect(DataSource(uri="s3://b/pairs.jsonl"), [row], Method.REWARD).reader.read(row)

    assert isinstance(found, Preference)
