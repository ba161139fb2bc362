"""Rows become units of the method: pairs, blocks, and blocks with replay beside them."""

from typing import Any

import pytest
from finetune_api.errors import UserError
from finetune_api.messages import PrepareMessage
from finetune_api.reasons import Reason
from finetune_api.units import Unit
from finetune_trainer.preparation.run import RefusedDataError

from tests.unit.trainer.prepare.conftest import World, learnt, prepared, report, text

LENGTH = {"sequenceLength": 64}


def pairs(count: int) -> list[dict[str, str]]:
    return [
        {"prompt": f"What is {n}?", "chosen": f"It is {n}.", "rejected": "Who can say."}
        for n in range(count)
    ]


def feedback(count: int, *, all_good: bool = False) -> list[dict[str, Any]]:
    return [
        {"prompt": f"What is {n}?", "completion": f"It is {n}.", "label": all_good or n % 3 > 0}
        for n in range(count)
    ]


def documents(count: int, word: str = "drum") -> list[dict[str, str]]:
    return [{"title": f"Part {n}", "text": f"The {word} {n} turns. " * 12} for n in range(count)]


def test_pairs_keep_both_sides_together_through_the_split(world: World) -> None:
    world.rows("rows.jsonl", pairs(40))

    message = world.prepare(method="DPO", training=LENGTH)

    data = prepared(message)
    assert message.data is not None
    assert data.metadata.unit is message.data.unit is Unit.PAIR
    assert (message.data.rows, message.data.evaluation_rows) == (32, 8)
    for split in (data.train, data.evaluation):
        assert split.unit_offsets.tolist() == list(range(0, len(split) + 1, 2))
        assert split.source_rows[::2].tolist() == split.source_rows[1::2].tolist()
    shown = report(message)["samples"][0]
    assert [learnt(row) for row in shown["rows"]] == [
        ["It is 0.<|im_end|>"],
        ["Who can say.<|im_end|>"],
    ]
    assert data.metadata.samples[0].answer_reference.startswith("It is ")


def test_a_pair_is_as_long_as_its_longer_side(world: World) -> None:
    long = {"prompt": "What?", "chosen": "Short.", "rejected": "word " * 80}
    uri = world.rows("rows.jsonl", [*pairs(3), long])
    checks = {"maxTooLongShare": "0.25"}

    message = world.prepare(
        method="DPO", training=LENGTH, data={"train": [{"uri": uri}], "checks": checks}
    )

    made = report(message)
    assert message.data is not None
    assert message.data.dropped == made["tooLong"] == 1
    assert made["longest"] > 80
    with pytest.raises(RefusedDataError) as caught:
        world.prepare(method="DPO", training=LENGTH)
    assert caught.value.where == f"{uri}:4"


def test_bad_pairs_are_named_by_file_row_and_field(world: World) -> None:
    same = {"prompt": "What?", "chosen": "Yes.", "rejected": "Yes."}
    uri = world.rows("rows.jsonl", [*pairs(2), same])

    with pytest.raises(RefusedDataError) as caught:
        world.prepare(method="DPO", training=LENGTH)

    assert caught.value.where == f"{uri}:3"
    assert caught.value.data.first_errors is not None
    assert caught.value.data.first_errors[0].field == "rejected"


def test_documents_fill_blocks_and_are_held_out_whole(world: World) -> None:
    world.rows("rows.jsonl", documents(20))

    message = world.prepare(method="CPT", training=LENGTH)

    data = prepared(message)
    assert message.data is not None
    assert data.metadata.unit is message.data.unit is Unit.BLOCK
    assert data.train.unit_lengths[:-1].tolist() == [64] * (data.train.units - 1)
    assert message.data.rows == data.train.units < 20 * 5
    assert message.data.dropped == 0
    held_out = set(data.evaluation.source_rows.tolist())
    assert len(held_out) == 4
    assert held_out | set(data.train.source_rows.tolist()) == set(range(1, 21))
    assert held_out.isdisjoint(data.train.source_rows.tolist())
    assert data.metadata.chat_template is None


def test_given_evaluation_documents_are_cut_like_the_others(world: World) -> None:
    train = world.rows("rows.jsonl", documents(3))
    uri = world.rows("dev.jsonl", documents(2, "burner"))
    data = {"train": [{"uri": train}], "evaluation": [{"uri": uri}]}

    made = prepared(world.prepare(method="CPT", training=LENGTH, data=data))

    assert set(made.train.source_files.tolist()) == {0}
    assert set(made.evaluation.source_files.tolist()) == {1}
    assert made.evaluation.unit_lengths[:-1].tolist() == [64] * (made.evaluation.units - 1)


def test_the_report_and_the_samples_show_documents(world: World) -> None:
    world.rows("rows.jsonl", documents(20))

    message = world.prepare(method="CPT", training=LENGTH)

    shown = report(message)["samples"][0]
    assert len(shown["rows"]) == 1
    assert text(shown["rows"][0]).startswith("The drum")
    assert shown["tokens"] == 64
    sample = prepared(message).metadata.samples[0]
    assert sample.prompt_messages == []
    assert f"{sample.prompt_text_rendered} {sample.answer_reference}".startswith("The drum ")


def replayed(world: World, share: str) -> dict[str, Any]:
    uri = world.rows("general.jsonl", documents(30, "river"))
    return {"replay": [{"uri": uri, "share": share}]}


def test_replay_lies_after_the_domain_and_is_never_held_out(world: World) -> None:
    world.rows("rows.jsonl", documents(20))

    data = prepared(world.prepare(method="CPT", training=LENGTH, cpt=replayed(world, "0.5")))

    assert [source.uri.rpartition("/")[2] for source in data.metadata.sources] == [
        "rows.jsonl",
        "general.jsonl",
    ]
    replay = data.train.source_files == 1
    assert set(data.train.source_rows[replay].tolist()) == set(range(1, 31))
    assert set(data.evaluation.source_files.tolist()) == {0}
    units = [source.units for source in data.metadata.sources]
    assert units == [int((data.train.unit_sources == n).sum()) for n in (0, 1)]
    assert sum(source.tokens for source in data.metadata.sources) == len(data.train.tokens)


def test_the_tokens_of_an_epoch_follow_the_share_of_replay(world: World) -> None:
    world.rows("rows.jsonl", documents(20))

    alone = world.prepare(method="CPT", training=LENGTH).data
    half = world.prepare(method="CPT", training=LENGTH, cpt=replayed(world, "0.5")).data

    assert alone is not None
    assert half is not None
    assert half.tokens == pytest.approx(2 * alone.tokens, rel=0.05)


def test_a_mixture_that_cannot_be_is_refused_also_for_prepared_data(world: World) -> None:
    world.rows("rows.jsonl", documents(4))
    tiny = world.rows("tiny.jsonl", [{"text": "word"}])

    def mixed(weight: str) -> PrepareMessage:
        sources = [{"uri": (world.root / "rows.jsonl").as_uri()}, {"uri": tiny, "weight": weight}]
        data = {"train": sources, "mixing": "Interleave", "mixingStop": "AllExhausted"}
        return world.prepare(method="CPT", training=LENGTH, data=data)

    mixed("1")
    for weight in ("1000", "1e6"):
        with pytest.raises(UserError, match="times over") as caught:
            mixed(weight)
        assert caught.value.reason is Reason.INVALID_SPEC
        assert caught.value.where == tiny


def test_feedback_keeps_its_labels_and_gets_partners(world: World) -> None:
    world.rows("rows.jsonl", feedback(40))

    data = prepared(world.prepare(method="KTO", training=LENGTH))

    assert data.partners is not None
    for split, partners in zip((data.train, data.evaluation), data.partners, strict=True):
        assert split.row_values.tolist() == [float((row - 1) % 3 > 0) for row in split.source_rows]
        assert len(partners) == len(split)
        assert partners.source_rows.tolist() == split.source_rows.tolist()
    own, other = data.train.row(0), data.partners[0].row(0)
    begin = int(own[1][0, 0])
    assert own[0][:begin].tolist() == other[0][:begin].tolist()
    assert own[0][begin:].tolist() != other[0][begin:].tolist()


def test_feedback_of_one_kind_is_refused_with_the_method_that_fits(world: World) -> None:
    world.rows("rows.jsonl", feedback(40, all_good=True))

    with pytest.raises(UserError, match=r"training rows are desirable; KTO needs both.*SFT"):
        world.prepare(method="KTO", training=LENGTH)


def test_pairs_of_orpo_are_those_of_dpo(world: World) -> None:
    world.rows("rows.jsonl", pairs(40))

    one, other = (
        prepared(world.prepare(method=method, training=LENGTH)) for method in ("DPO", "ORPO")
    )

    assert one.train.tokens.tolist() == other.train.tokens.tolist()
    assert one.metadata.data_hash != other.metadata.data_hash


def test_rankings_are_refused_where_pairs_alone_are_trained_on(world: World) -> None:
    row = {"prompt": "Which?", "responses": ["This.", "That.", "None."], "scores": [2, 1, 0]}
    world.rows("rows.jsonl", [{**row, "prompt": f"Which of {n}?"} for n in range(20)])
    training = {**LENGTH, "engine": "TRL", "packing": False}

    with pytest.raises(UserError, match="takes pairs, and some rows rank more than two answers"):
        world.prepare(method="Reward", training=training)


def test_rankings_keep_their_scores_from_the_best_to_the_worst(world: World) -> None:
    row = {"prompt": "Which?", "responses": ["That.", "This."], "scores": [1, 2.5]}
    world.rows("rows.jsonl", [{**row, "prompt": f"Which of {n}?"} for n in range(20)])

    data = prepared(world.prepare(method="Reward", training=LENGTH))

    assert data.metadata.unit is Unit.COMPARISON
    assert data.train.row_values[:2].tolist() == [2.5, 1.0]
    assert data.metadata.samples[0].answer_reference == "This."
