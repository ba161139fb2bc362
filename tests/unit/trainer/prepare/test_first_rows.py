"""How much of a file is looked at to see its shape."""

import json
from collections.abc import Iterator

from finetune_trainer.data.rows import Chunk
from finetune_trainer.preparation.corpus import _BYTES_LOOKED_AT, _first_rows

LONG = json.dumps({"text": "x" * (_BYTES_LOOKED_AT // 4)}).encode()
SHORT = json.dumps({"text": "x"}).encode()


def chunks(line: bytes, taken: list[int]) -> Iterator[Chunk]:
    """A file of endless lines, one in a chunk; `taken` counts them."""
    number = 1
    while True:
        taken.append(number)
        yield Chunk(number, line)
        number += 1


def test_few_rows_are_enough_where_they_are_long() -> None:
    taken: list[int] = []
    read, rows = _first_rows(chunks(LONG, taken))
    assert len(rows) == len(read) == len(taken) == 4


def test_a_hundred_short_rows_are_looked_at() -> None:
    taken: list[int] = []
    assert len(_first_rows(chunks(SHORT, taken))[1]) == len(taken) == 100
