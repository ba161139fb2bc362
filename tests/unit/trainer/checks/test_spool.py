from pathlib import Path

import numpy as np
import pytest
from finetune_trainer.checks.prints import Print, print_of
from finetune_trainer.checks.spool import WordSpool

from benchmarks.checks.prose import seeded, words


def prints(count: int) -> list[Print]:
    random = seeded(1)
    return [
        print_of(" ".join(words(random, place % 7)), " ".join(words(random, place % 50)))
        for place in range(count)
    ]


def test_a_unit_is_read_as_it_was_appended(tmp_path: Path) -> None:
    units = prints(120)
    with WordSpool(tmp_path / "spool") as spool:
        spool.append(units[:50])
        spool.append([])
        spool.append(units[50:])
        assert len(spool) == 120
        for place in (0, 49, 50, 119):
            prompt, answer = spool.read(place)
            assert np.array_equal(np.concatenate((prompt, answer)), units[place].words)
            assert len(prompt) == units[place].prompt_words
        assert spool.exact().tolist() == [unit.exact for unit in units]
        assert np.array_equal(spool.band(24), [unit.bands[24] for unit in units])
        assert np.array_equal(spool.sketches(), [unit.sketch for unit in units])


def test_blocks_hold_all_units_in_order(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("finetune_trainer.checks.spool._BLOCK_WORDS", 200)
    units = prints(120)
    with WordSpool(tmp_path) as spool:
        spool.append(units)
        blocks = list(spool.blocks())
    assert len(blocks) > 5
    assert np.array_equal(
        np.concatenate([block.words for block in blocks]),
        np.concatenate([unit.words for unit in units]),
    )
    place = 0
    for block in blocks:
        assert block.first == place
        for start, end in zip(block.starts[:-1], block.starts[1:], strict=True):
            assert np.array_equal(block.words[start:end], units[place].words)
            place += 1
    assert place == 120


def test_units_can_be_added_after_reading(tmp_path: Path) -> None:
    with WordSpool(tmp_path) as spool:
        spool.append([print_of("one two", "three")])
        assert len(spool.read(0)[0]) == 2
        spool.append([print_of("four", "")])
        assert len(spool.read(1)[0]) == 1
        with pytest.raises(IndexError):
            spool.read(2)


def test_an_empty_spool_has_no_blocks(tmp_path: Path) -> None:
    with WordSpool(tmp_path) as spool:
        assert list(spool.blocks()) == []
        assert spool.exact().tolist() == []
