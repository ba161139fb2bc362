"""Answers with a label in the ways that people write them, and labels that are none."""

from typing import Any

import pytest
from finetune_api.spec import DataSource, Method
from finetune_trainer.data.conversation import Conversation, Message
from finetune_trainer.data.faults import Fault, InvalidRow
from finetune_trainer.data.feedback import Feedback
from finetune_trainer.data.shapes import detect

ASK: Message = {"role": "user", "content": "Ask"}
ANSWER: Message = {"role": "assistant", "content": "Answer"}
TEXTS = {"prompt": "Ask", "completion": "Answer"}


def read(row: dict[str, Any], *, among: dict[str, Any] | None = None, **options: Any) -> Feedback:
    source = DataSource(uri="s3://b/feedback.jsonl", **options)
    found = detect(source, [among or row], Method.KTO).reader.read(row)
    assert isinstance(found, Feedback)
    return found


@pytest.mark.parametrize(
    ("row", "options"),
    [
        ({**TEXTS, "label": True}, {}),
        ({**TEXTS, "kto_tag": True}, {}),
        ({"messages": [ASK, ANSWER], "label": True}, {}),
        (
            {
                "conversations": [
                    {"from": "human", "value": "Ask"},
                    {"from": "gpt", "value": "Answer"},
                ],
                "kto_tag": True,
            },
            {},
        ),
        ({"q": "Ask", "a": "Answer", "ok": 1}, {"prompt": "q", "completion": "a", "label": "ok"}),
    ],
    ids=["texts", "another name", "messages", "ShareGPT", "column map"],
)
def test_feedback_is_read_in_every_usual_way(row: dict[str, Any], options: dict[str, str]) -> None:
    fields = {"fields": options} if options else {}
    assert read(row, **fields) == Feedback(Conversation([ASK, ANSWER]), desirable=True)


@pytest.mark.parametrize(
    ("label", "desirable"),
    [(True, True), (False, False), (1, True), (0, False), ("true", True), ("False", False)],
)
def test_labels_are_true_or_false(label: object, desirable: bool) -> None:
    assert read({**TEXTS, "label": label}).desirable is desirable


@pytest.mark.parametrize(
    ("label", "fault", "said"),
    [
        (None, Fault.MISSING, "missing"),
        (2, Fault.TYPE, "must be true or false .* is a number"),
        (0.5, Fault.TYPE, "is a number"),
        ("good", Fault.TYPE, "is text"),
        ([True], Fault.TYPE, "is a list"),
    ],
)
def test_a_label_that_is_neither_is_named(label: object, fault: Fault, said: str) -> None:
    row = {**TEXTS, "label": label}
    with pytest.raises(InvalidRow, match=said) as caught:
        read(row, among={**TEXTS, "label": True})
    assert (caught.value.fault, caught.value.field) == (fault, "label")


def test_a_column_of_other_labels_makes_no_feedback() -> None:
    row = {**TEXTS, "label": "billing"}

    found = detect(DataSource(uri="s3://b/rows.jsonl"), [row], Method.SFT).reader.read(row)

    assert found == Conversation([ASK, ANSWER])
