"""From rows to tokens: what is counted, refused, held out and reported."""

from typing import Any

import numpy as np
import pytest
from finetune_api.errors import UserError
from finetune_api.exits import Outcome
from finetune_api.reasons import Reason
from finetune_trainer.preparation.run import RefusedDataError

from tests.unit.trainer.data.conftest import make_tokenizer
from tests.unit.trainer.prepare.conftest import World, good_rows, learnt, prepared, report, text


def refused(world: World, **changes: Any) -> RefusedDataError:
    with pytest.raises(RefusedDataError) as caught:
        world.prepare(**changes)
    assert caught.value.reason is Reason.INVALID_DATA
    return caught.value


def test_rows_become_tokens_and_held_out_rows(world: World) -> None:
    message = world.prepare()

    data = prepared(message)
    assert (message.outcome, message.reason) == (Outcome.DONE, Reason.DATA_READY)
    assert message.data is not None
    assert (message.data.rows, message.data.evaluation_rows) == (32, 8)
    assert (len(data.train), len(data.evaluation)) == (32, 8)
    assert message.data.tokens == len(data.train.tokens) == data.train.lengths.sum()
    rows = np.concatenate([data.train.source_rows, data.evaluation.source_rows])
    assert sorted(rows.tolist()) == list(range(1, 41))


def test_samples_are_redacted_as_the_tokens_are(world: World) -> None:
    rows = [
        {"instruction": f"Who is person {n}, {n}@acme.co.uk?", "response": "Call +44 20 7946 4011."}
        for n in range(40)
    ]
    data = {
        "train": [{"uri": world.rows("people.jsonl", rows)}],
        "checks": {"personalData": "Redact", "leakage": "Off"},
    }

    samples = prepared(world.prepare(data=data)).metadata.samples

    assert str(samples[0].prompt_messages[-1]["content"]).endswith(", [EMAIL_1]?")
    assert {sample.answer_reference for sample in samples} == {"Call [PHONE_1]."}


def test_held_out_rows_stand_as_samples(world: World) -> None:
    data = prepared(world.prepare())

    sample = data.metadata.samples[0]
    number = int(data.evaluation.source_rows[0]) - 1
    assert sample.prompt_messages == [{"role": "user", "content": f"What is {number}?"}]
    assert sample.prompt_text_rendered.endswith("<|im_start|>assistant\n")
    assert sample.answer_reference == f"The answer {number} is short."
    assert len(data.metadata.samples) == 8


def test_given_evaluation_rows_are_held_out_and_no_others(world: World) -> None:
    uri = world.rows("dev.jsonl", good_rows(3))
    train = [{"uri": (world.root / "rows.jsonl").as_uri()}]

    checks = {"leakage": "Report"}
    message = world.prepare(data={"train": train, "evaluation": [{"uri": uri}], "checks": checks})

    data = prepared(message)
    assert (len(data.train), len(data.evaluation)) == (40, 3)
    assert data.evaluation.source_files.tolist() == [1, 1, 1]
    assert report(message)["warnings"] == ["3 training rows have the prompt of an evaluation row"]


def test_bad_rows_end_the_job_with_their_places(world: World) -> None:
    rows = [*good_rows(30), {"instruction": "x", "response": ""}, [1], *good_rows(5)]
    uri = world.rows("rows.jsonl", rows)

    error = refused(world)

    assert error.where == f"{uri}:31"
    assert error.message.startswith("2 rows are invalid and 0 are allowed")
    assert error.data.first_errors is not None
    assert [(e.row, e.field) for e in error.data.first_errors] == [(31, "response"), (32, None)]
    assert report(error)["invalid"] == {"Empty": 1, "NotAnObject": 1}


def test_at_most_twenty_bad_rows_are_shown(world: World) -> None:
    world.rows("rows.jsonl", [*good_rows(1), *[{"instruction": "x"}] * 50])

    error = refused(world)

    assert error.data.dropped == 50
    assert error.data.first_errors is not None
    assert [e.row for e in error.data.first_errors] == list(range(2, 22))


def test_allowed_bad_rows_are_dropped_counted_and_shown(world: World) -> None:
    uri = world.rows("rows.jsonl", [*good_rows(30), {"instruction": "x"}])
    data = {"train": [{"uri": uri}], "checks": {"maxInvalidRows": 1}}

    message = world.prepare(data=data)

    assert message.data is not None
    assert message.data.dropped == 1
    assert message.data.rows + message.data.evaluation_rows == 30
    assert message.data.first_errors is not None
    assert message.data.first_errors[0].row == 31


def test_long_rows_are_dropped_up_to_the_share(world: World) -> None:
    long = {"instruction": "What?", "response": "x " * 600}
    uri = world.rows("rows.jsonl", [*good_rows(19), long])

    message = world.prepare()
    assert message.data is not None
    assert message.data.dropped == 1
    assert report(message)["tooLong"] == 1

    world.rows("rows.jsonl", [*good_rows(18), long, long])
    error = refused(world)
    assert error.where == f"{uri}:19"
    assert error.message.startswith("2 of 20 rows are longer than training.sequenceLength 512")
    assert f"the longest has {report(error)['longest']} tokens" in error.message
    assert error.data.first_errors is not None
    assert error.data.first_errors[0].row == 19


def test_rows_of_an_unknown_shape_are_reported(world: World) -> None:
    world.rows("rows.jsonl", [{"word": "x"}])

    error = refused(world)

    assert "columns found: word" in error.message
    assert "columns found: word" in report(error)["problem"]


@pytest.mark.parametrize(("content", "said"), [("", "no rows"), ("hello\n", "can be read")])
def test_a_file_without_rows_is_refused(world: World, content: str, said: str) -> None:
    (world.root / "rows.jsonl").write_text(content)

    assert said in refused(world).message


def test_the_report_shows_rows_as_the_model_sees_them(world: World) -> None:
    made = report(world.prepare())
    shown = made["samples"]

    assert (made["unit"], made["trainingUnits"], made["evaluationUnits"]) == ("Row", 32, 8)
    assert [len(unit["rows"]) for unit in shown] == [1] * 5
    row = shown[0]["rows"][0]
    assert text(row).startswith("<s><|im_start|>user\nWhat is")
    assert learnt(row)[0].endswith("is short.<|im_end|>")
    assert shown[0]["labelTokens"] == row["labelTokens"] < row["tokens"] == shown[0]["tokens"]


def test_a_plain_template_is_handed_to_publishing(world: World) -> None:
    for path in world.model.glob("chat_template*"):
        path.unlink()
    make_tokenizer(None).save_pretrained(world.model)

    message = world.prepare()

    template = prepared(message).metadata.chat_template
    assert template is not None
    assert "### Response:" in template
    assert "plain" in report(message)["warnings"][0]


def test_an_output_that_cannot_be_written_fails_first(world: World) -> None:
    world.output.write_text("a file where a folder should be")

    with pytest.raises(UserError) as caught:
        world.prepare(model={"uri": "file:///nothing/there"})

    assert caught.value.where is not None
    assert caught.value.where.startswith(world.output.as_uri())


def test_scratch_space_is_left_empty(world: World) -> None:
    world.prepare()

    assert list((world.root / "work").iterdir()) == []


def test_evaluations_without_rows_to_evaluate_on_are_refused(world: World) -> None:
    world.rows("rows.jsonl", good_rows(4))
    training = {"sequenceLength": 512, "evalEverySteps": 1}

    for _ in range(2):  # the second time the tokens are there already
        with pytest.raises(UserError) as caught:
            world.prepare(training=training)

        assert caught.value.where == "spec.training.evalEverySteps"
        assert "of 4 training rows none is held out: name evaluation rows" in caught.value.message


def test_a_baseline_without_rows_to_measure_on_is_refused(world: World) -> None:
    world.rows("rows.jsonl", good_rows(4))

    with pytest.raises(UserError, match="none is held out: name evaluation rows") as caught:
        world.prepare(stopAfter="Baseline")

    assert caught.value.where == "spec.stopAfter"
