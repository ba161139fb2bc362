"""Prepared data is read back as it was written, and damage is seen."""

import json
from pathlib import Path

import numpy as np
import pytest
from finetune_api.errors import InfrastructureError
from finetune_api.spec import Storage
from finetune_api.status import DataStatus
from finetune_api.units import Unit
from finetune_trainer.data.table import UnitTable, select_units
from finetune_trainer.prepared import PreparedMetadata
from finetune_trainer.prepared_files import (
    METADATA_FILE,
    TRAIN_FILE,
    find_prepared,
    read_prepared,
    upload_prepared,
    write_prepared,
)
from finetune_trainer.storage import open_store
from finetune_trainer.texts import Texts


def table() -> UnitTable:
    rows = UnitTable()
    rows.add([([1, 2, 3, 4], [(1, 2), (3, 4)])], file=0, row=1, group=-5)
    rows.add([([5, 6], [(1, 2)])], file=0, row=3, group=2**62)
    rows.add([([7, 8, 9], [(1, 3)])], file=1, row=1, group=-5)
    return rows


@pytest.fixture
def metadata() -> PreparedMetadata:
    return PreparedMetadata(
        unit=Unit.ROW,
        data_hash="d" * 64,
        tokenizer_digest="t" * 64,
        sequence_length=16,
        counts=DataStatus(rows=3),
        evaluation_tokens=0,
        sources=[],
        samples=[],
    )


@pytest.fixture
def folder(metadata: PreparedMetadata, tmp_path: Path) -> Path:
    write_prepared(tmp_path / "made", metadata, table().to_split(), UnitTable().to_split())
    return tmp_path / "made"


def test_rows_come_back_with_their_tokens_spans_and_origins(folder: Path) -> None:
    train = read_prepared(folder).train

    tokens, spans = train.row(0)
    assert (tokens.tolist(), spans.tolist()) == ([1, 2, 3, 4], [[1, 2], [3, 4]])
    assert train.row(2)[0].tolist() == [7, 8, 9]
    assert train.lengths.tolist() == [4, 2, 3]
    assert train.label_counts.tolist() == [2, 1, 2]
    assert train.source_rows.tolist() == [1, 3, 1]
    assert train.group_ids.tolist() == [-5, 2**62, -5]
    assert train.unit_offsets.tolist() == [0, 1, 2, 3]


def test_a_split_without_rows_is_read(folder: Path) -> None:
    evaluation = read_prepared(folder).evaluation

    assert len(evaluation) == 0
    assert evaluation.label_counts.tolist() == []


def test_arrays_are_views_of_the_file(folder: Path) -> None:
    train = read_prepared(folder).train

    assert train.tokens.dtype == np.int32
    assert not train.tokens.flags.owndata
    assert not train.tokens.flags.writeable


def test_right_answers_come_back_where_there_are_some(
    metadata: PreparedMetadata, folder: Path, tmp_path: Path
) -> None:
    prompts = UnitTable()
    for row, answer in enumerate(("42", "", "Zürich 🏔")):
        prompts.add([([row, 9], [])], file=0, row=row, group=row, answer=answer)
    answers = prompts.answers(), UnitTable().answers()
    split, none = prompts.to_split(), UnitTable().to_split()

    write_prepared(tmp_path / "prompts", metadata, split, none, answers=answers)

    found = read_prepared(tmp_path / "prompts")
    assert found.train.label_counts.tolist() == [0, 0, 0]
    assert found.train.row(2)[1].tolist() == []
    assert found.answers is not None
    train, evaluation = found.answers
    assert [train[row] for row in range(len(train))] == ["42", "", "Zürich 🏔"]
    assert len(evaluation) == 0
    assert not train.content.flags.owndata
    assert read_prepared(folder).answers is None


def test_selected_texts_keep_their_order() -> None:
    texts = Texts.of(["a", "", "ü", "d"]).select(np.array([False, True, True, True]))

    assert [texts[row] for row in range(len(texts))] == ["", "ü", "d"]


def test_selected_rows_keep_their_spans() -> None:
    kept = select_units(table().to_split(), np.array([False, True, True]))

    assert [kept.row(i)[0].tolist() for i in range(len(kept))] == [[5, 6], [7, 8, 9]]
    assert [kept.row(i)[1].tolist() for i in range(len(kept))] == [[[1, 2]], [[1, 3]]]


def test_units_are_selected_whole() -> None:
    pairs = UnitTable()
    for row in range(3):
        sides = [([row, 9], [(1, 2)]), ([row, 8, 7], [(1, 3)])]
        pairs.add(sides, file=row, row=row, group=row)
    split = pairs.to_split()

    assert (split.units, len(split)) == (3, 6)
    assert split.unit_lengths.tolist() == [5, 5, 5]
    assert split.unit_sources.tolist() == [0, 1, 2]
    assert split.rows_of(np.array([2, 0])).tolist() == [4, 5, 0, 1]

    kept = select_units(split, np.array([True, False, True]))
    assert kept.unit_offsets.tolist() == [0, 2, 4]
    assert [kept.row(i)[0].tolist() for i in range(4)] == [[0, 9], [0, 8, 7], [2, 9], [2, 8, 7]]


def test_a_changed_byte_is_noticed(folder: Path) -> None:
    content = bytearray((folder / TRAIN_FILE).read_bytes())
    content[-1] ^= 1
    (folder / TRAIN_FILE).write_bytes(content)

    with pytest.raises(InfrastructureError, match="damaged"):
        read_prepared(folder)


def test_another_version_is_not_read(folder: Path) -> None:
    document = json.loads((folder / METADATA_FILE).read_text())
    (folder / METADATA_FILE).write_text(json.dumps({**document, "version": 999}))

    with pytest.raises(InfrastructureError, match="another version"):
        read_prepared(folder)


def test_only_complete_data_is_found(folder: Path, tmp_path: Path) -> None:
    store = open_store(Storage(), allow_loopback=False)
    uri = (tmp_path / "there").as_uri()
    assert find_prepared(store, uri) is None

    upload_prepared(store, folder, uri)
    found = find_prepared(store, uri)
    assert found is not None
    assert found.data_hash == "d" * 64

    store.delete(f"{uri}/{TRAIN_FILE}")
    assert find_prepared(store, uri) is None
