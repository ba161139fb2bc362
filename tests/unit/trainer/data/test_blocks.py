"""Documents are cut into blocks of equal length; no token is lost, none crosses a document."""

from itertools import pairwise
from pathlib import Path
from tempfile import TemporaryDirectory
from unittest.mock import patch

import numpy as np
from finetune_trainer.data import blocks
from finetune_trainer.data.blocks import cut_into_blocks
from finetune_trainer.data.spool import UnitSpool
from finetune_trainer.data.table import UnitTable
from finetune_trainer.prepared import PreparedSplit
from finetune_trainer.texts import Texts
from hypothesis import given, settings
from hypothesis import strategies as st

LENGTHS = st.lists(st.integers(2, 40), max_size=12)


def documents(*sources: list[int]) -> PreparedSplit:
    """Documents of the given lengths, source after source; every token tells its document."""
    table = UnitTable()
    for file, lengths in enumerate(sources):
        for row, length in enumerate(lengths, start=1):
            tokens = [1000 * file + row] * length
            table.add([(tokens, [(1, length)])], file=file, row=row, group=10 * file + row)
    return table.to_split()


def blocks_of(split: PreparedSplit, length: int) -> PreparedSplit:
    """All blocks together."""
    with TemporaryDirectory() as folder:
        uncut, spool = UnitSpool(Path(folder, "documents")), UnitSpool(Path(folder, "blocks"))
        uncut.append(split, Texts.of([""] * split.units))
        for part in cut_into_blocks(uncut, length):
            spool.append(part, Texts.of([""] * part.units))
        return spool.mapped()


def pieces(split: PreparedSplit) -> list[list[list[int]]]:
    """The rows of tokens of every unit."""
    return [
        [split.row(row)[0].tolist() for row in range(first, end)]
        for first, end in pairwise(split.unit_offsets.tolist())
    ]


def test_documents_follow_one_another_and_are_cut() -> None:
    cut = blocks_of(documents([5, 3, 9]), 8)

    assert pieces(cut) == [[[1] * 5, [2] * 3], [[3] * 8]]
    assert cut.source_rows.tolist() == [1, 2, 3]
    assert cut.group_ids.tolist() == [1, 2, 3]


def test_a_block_never_mixes_sources() -> None:
    cut = blocks_of(documents([5], [], [6, 7]), 8)

    assert cut.unit_lengths.tolist() == [5, 8, 5]
    assert cut.unit_sources.tolist() == [0, 2, 2]


def test_all_tokens_of_a_piece_but_the_first_are_learnt() -> None:
    cut = blocks_of(documents([5, 3, 9]), 7)

    assert cut.lengths.tolist() == [5, 2, 1, 6, 3]
    assert cut.label_counts.tolist() == [4, 1, 0, 5, 2]
    assert cut.row(3)[1].tolist() == [[1, 6]]


def test_a_last_block_of_one_token_is_left_out_and_no_other() -> None:
    cut = blocks_of(documents([9], [4, 5], [10]), 8)

    assert cut.unit_lengths.tolist() == [8, 8, 8, 2]
    assert cut.unit_sources.tolist() == [0, 1, 2, 2]
    assert len(cut.tokens) == 26


@settings(deadline=None)  # hundreds of small files, on a disk that others use too
@given(
    sources=st.lists(LENGTHS, max_size=4),
    length=st.integers(2, 30),
    step=st.sampled_from([1, 50, 2**20]),
)
def test_every_token_is_in_one_piece_of_its_document_in_order(
    sources: list[list[int]], length: int, step: int
) -> None:
    split = documents(*sources)
    with patch.object(blocks, "_STEP_TOKENS", step):
        cut = blocks_of(split, length)

    for file in range(len(sources)):
        lengths = cut.unit_lengths[cut.unit_sources == file].tolist()
        assert all(size == length for size in lengths[:-1])
        assert all(1 < size <= length for size in lengths[-1:])
        before = split.tokens[np.repeat(split.source_files == file, split.lengths)]
        after = cut.tokens[np.repeat(cut.source_files == file, cut.lengths)]
        assert after.tolist() == before.tolist()[: len(after)]
        assert len(before) - len(after) == (len(before) % length == 1)
    for index, (file, row) in enumerate(zip(cut.source_files, cut.source_rows, strict=True)):
        tokens, spans = cut.row(index)
        assert set(tokens.tolist()) == {1000 * file + row}
        assert spans.tolist() == ([[1, len(tokens)]] if len(tokens) > 1 else [])
