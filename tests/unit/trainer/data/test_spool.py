"""Units on disk are those that were appended."""

from pathlib import Path

import numpy as np
import pytest
from finetune_trainer.array_files import map_arrays, save_arrays
from finetune_trainer.data import spool as spools
from finetune_trainer.data.spool import UnitSpool
from finetune_trainer.data.table import UnitTable, select_units
from finetune_trainer.prepared import PreparedSplit


def made(units: int, seed: int) -> UnitTable:
    """Units of one to three rows, some without spans, some with an answer."""
    random = np.random.default_rng(seed)
    table = UnitTable()
    for unit in range(units):
        rows = []
        for _ in range(random.integers(1, 4)):
            tokens = random.integers(0, 99, random.integers(1, 30)).tolist()
            rows.append((tokens, [(1, len(tokens))] if len(tokens) > 2 else []))
        answer = "é" * unit if unit % 3 else ""
        table.add(rows, file=seed, row=unit + 1, group=unit, answer=answer)
    return table


def equal(one: PreparedSplit, other: PreparedSplit) -> bool:
    pairs = zip(one.arrays().values(), other.arrays().values(), strict=True)
    return all(np.array_equal(a, b) and a.dtype == b.dtype for a, b in pairs)


def whole(*tables: UnitTable) -> UnitTable:
    """The tables in one."""
    together = UnitTable()
    for table in tables:
        split, answers = table.to_split(), table.answers()
        for unit in range(split.units):
            first, end = split.unit_offsets[unit : unit + 2].tolist()
            rows = [split.row(row) for row in range(first, end)]
            together.add(
                [(tokens.tolist(), [(int(a), int(b)) for a, b in spans]) for tokens, spans in rows],
                file=int(split.source_files[first]),
                row=int(split.source_rows[first]),
                group=int(split.group_ids[first]),
                answer=answers[unit],
            )
    return together


def test_appended_units_follow_each_other(tmp_path: Path) -> None:
    parts = [made(7, 1), made(0, 2), made(11, 3)]
    spool = UnitSpool(tmp_path / "spool")

    for part in parts:
        spool.append(part.to_split(), part.answers())

    expected = whole(*parts)
    assert spool.units == 18
    assert equal(spool.mapped(), expected.to_split())
    texts, wanted = spool.answers.mapped(), expected.answers()
    assert [texts[unit] for unit in range(18)] == [wanted[unit] for unit in range(18)]


@pytest.mark.parametrize("step", [1, 40, 10**6])
def test_some_units_are_taken_over_whatever_is_read_at_once(
    tmp_path: Path, step: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(spools, "_STEP_TOKENS", step)
    table = made(23, 1)
    keep = np.random.default_rng(0).random(23) < 0.6
    everything, some = UnitSpool(tmp_path / "all"), UnitSpool(tmp_path / "some")
    everything.append(table.to_split(), table.answers())

    some.extend(everything, keep)

    assert equal(some.mapped(), select_units(table.to_split(), keep))
    kept = table.answers().select(keep)
    assert [some.answers.mapped()[n] for n in range(len(kept))] == [
        kept[n] for n in range(len(kept))
    ]


def test_a_spool_is_saved_as_its_arrays(tmp_path: Path) -> None:
    table = made(9, 4)
    spool = UnitSpool(tmp_path / "spool")
    spool.append(table.to_split(), table.answers())

    save_arrays(tmp_path / "disk.safetensors", spool.arrays())
    save_arrays(tmp_path / "memory.safetensors", table.to_split().arrays())

    disk, memory = (tmp_path / f"{name}.safetensors" for name in ("disk", "memory"))
    assert disk.read_bytes() == memory.read_bytes()
    assert np.array_equal(map_arrays(disk)["tokens"], table.to_split().tokens)
