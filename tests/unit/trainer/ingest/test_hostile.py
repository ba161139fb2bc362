"""Whatever a file holds, it becomes rows or is named: no crash, no hang, no more memory."""

import random
import resource
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from finetune_trainer.data.faults import MAX_MESSAGE
from finetune_trainer.ingest.converter import Converter
from finetune_trainer.ingest.failure import Limits, UnreadableFile
from finetune_trainer.ingest.kinds import FileKind, compression_of, kind_of, why_not
from finetune_trainer.ingest.lines import parse_converted_line

from tests.unit.trainer.ingest.hostile import (
    CANARY,
    MIB,
    NAMES,
    bombs,
    crafted,
    mutated,
    sound_files,
)

LIMITS = Limits(memory=384 * MIB, seconds=3, output=64 * MIB, ratio_after=8 * MIB)
FRESH = 640 * MIB
"""More address space than a child has after all imports, and less than twice as much."""
SEEDS = 20
SOUND = sound_files()
CRAFTED = dict(crafted())


@pytest.fixture(scope="module")
def converter() -> Iterator[Converter]:
    with Converter(LIMITS) as converter:
        yield converter


def converted(converter: Converter, path: Path, name: str, target: Path) -> int | str:
    """The number of rows, or why there are none."""
    kind = kind_of(path, name)
    assert kind is not None
    try:
        return converter.convert(path, name, kind, compression_of(path), target)
    except UnreadableFile as error:
        said, shown = error.message, str(error)
    assert CANARY not in said
    assert CANARY not in shown
    assert 0 < len(said) <= MAX_MESSAGE
    assert not target.exists()
    return said


def outcome(converter: Converter, path: Path, name: str) -> int | str:
    """The number of rows or what was said; checks that it is one of both, in bounds."""
    target = path.with_name("rows")
    target.unlink(missing_ok=True)
    kind = kind_of(path, name)
    if kind is None:
        said = why_not(path, name)
        assert CANARY not in said
        return said
    if kind is FileKind.ROWS and compression_of(path) is None:
        return "for the reader of rows"
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    began = time.monotonic()
    result = converted(converter, path, name, target)
    # The imports of a new child come on top of the file's own time.
    assert time.monotonic() - began < LIMITS.seconds_for(path.stat().st_size) + 10
    grown = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before
    assert grown * 1024 < 16 * MIB
    assert sorted(entry.name for entry in path.parent.iterdir() if entry.is_dir()) == []
    check_child(converter)
    if isinstance(result, int) and kind is not FileKind.ROWS:
        with target.open("rb") as rows:
            assert sum(1 for line in rows if parse_converted_line(line)) <= result
    return result


def check_child(converter: Converter) -> None:
    if converter._child is not None:
        status = Path(f"/proc/{converter._child.pid}/status").read_text(encoding="ascii")
        peak = next((line for line in status.splitlines() if line.startswith("VmPeak")), None)
        if peak is not None:
            assert int(peak.split()[1]) * 1024 < FRESH + LIMITS.memory


@pytest.mark.parametrize("name", SOUND)
def test_damaged_files(converter: Converter, tmp_path: Path, name: str) -> None:
    path = tmp_path / "stored"
    path.write_bytes(SOUND[name])
    assert isinstance(outcome(converter, path, name), int)
    for seed in range(SEEDS):
        path.write_bytes(mutated(SOUND[name], random.Random(f"{name} {seed}")))
        try:
            outcome(converter, path, name)
        except Exception as error:
            error.add_note(f"{name}, seed {seed}")
            raise


@pytest.mark.parametrize("name", CRAFTED)
def test_crafted_files(converter: Converter, tmp_path: Path, name: str) -> None:
    path = tmp_path / "stored"
    path.write_bytes(CRAFTED[name])
    outcome(converter, path, name)


def test_bombs_are_refused(converter: Converter, tmp_path: Path) -> None:
    path = tmp_path / "stored"
    converted = []
    for name, content in bombs():
        path.write_bytes(content)
        del content
        if isinstance(outcome(converter, path, name), int):
            converted.append(name)
    assert converted == []


@pytest.mark.parametrize("name", ["a.csv", "a.txt", "a.md", "a.html", "a.pdf", "a.jsonl.gz"])
def test_many_megabytes_without_a_line_end(converter: Converter, tmp_path: Path, name: str) -> None:
    path = tmp_path / "stored"
    starts = {"a.pdf": b"%PDF-1.4\n", "a.jsonl.gz": b"\x1f\x8b\x08"}
    with path.open("wb") as file:
        file.write(starts.get(name, b"a,b\nx,"))
        # pypdf looks for the end of a PDF byte by byte.
        file.truncate(8 * MIB if name == "a.pdf" else 100 * MIB)
    assert isinstance(outcome(converter, path, name), str)


@pytest.mark.parametrize("name", NAMES)
def test_names_are_only_names(converter: Converter, tmp_path: Path, name: str) -> None:
    path = tmp_path / "stored"
    path.write_bytes(b"a,b\n1,2\n")
    assert outcome(converter, path, name) == 1
    assert sorted(entry.name for entry in tmp_path.iterdir()) == ["rows", "stored"]
    path.write_bytes(b"# Heading\n")
    assert outcome(converter, path, name.replace(".csv", ".md")) == 1


def test_a_reader_that_crashes_costs_only_its_file(converter: Converter, tmp_path: Path) -> None:
    assert len(SOUND) * SEEDS + len(CRAFTED) > 200
    path = tmp_path / "stored"
    for name in SOUND:
        path.write_bytes(SOUND[name])
        assert isinstance(outcome(converter, path, name), int)
