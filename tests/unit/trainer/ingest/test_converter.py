"""The child process: bounded, replaced, and gone when the converter is."""

import gzip
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pyarrow as pa
import pytest
from finetune_trainer.data.faults import Fault, InvalidRow
from finetune_trainer.data.rows import read_rows
from finetune_trainer.ingest import messages
from finetune_trainer.ingest.converter import Converter
from finetune_trainer.ingest.failure import Limits, UnreadableFile
from finetune_trainer.ingest.kinds import Compression, FileKind, compression_of, kind_of
from finetune_trainer.ingest.lines import RowWriter, parse_converted_line

MIB = 2**20


@pytest.fixture
def target(tmp_path: Path) -> Path:
    (tmp_path / "out").mkdir()
    return tmp_path / "out" / "rows.jsonl"


def convert(converter: Converter, path: Path, content: bytes, target: Path) -> int:
    path.write_bytes(content)
    kind = kind_of(path, path.name)
    assert kind is not None
    return converter.convert(path, path.name, kind, compression_of(path), target)


def child_of(converter: Converter) -> int:
    assert converter._child is not None
    return converter._child.pid


def is_running(process: int) -> bool:
    """Whether the process is there and no zombie."""
    try:
        status = Path(f"/proc/{process}/stat").read_text(encoding="ascii", errors="replace")
    except FileNotFoundError:
        return False
    return status.rpartition(")")[2].split()[0] != "Z"


def wait_until_gone(process: int, seconds: float = 10) -> bool:
    deadline = time.monotonic() + seconds
    while is_running(process) and time.monotonic() < deadline:
        time.sleep(0.02)
    return not is_running(process)


@pytest.fixture
def converter() -> Iterator[Converter]:
    with Converter() as converter:
        yield converter


@pytest.mark.parametrize("compression", list(Compression))
def test_compressed_rows_are_inflated_as_they_are(
    converter: Converter, tmp_path: Path, target: Path, compression: Compression
) -> None:
    rows = b'{"text": "one"}\nnot JSON\n{"text": "two"}'
    stored = (
        gzip.compress(rows)
        if compression is Compression.GZIP
        else pa.compress(rows, "zstd", asbytes=True)
    )
    assert convert(converter, tmp_path / "a.jsonl.x.gz".replace(".x", ""), stored, target) == 3
    assert target.read_bytes() == rows
    assert [number for number, _ in read_rows(target, "a")] == [1, 2, 3]


def test_compressed_documents_and_tables_are_read(
    converter: Converter, tmp_path: Path, target: Path
) -> None:
    assert convert(converter, tmp_path / "a.csv.gz", gzip.compress(b"a,b\n1,2\n"), target) == 1
    assert parse_converted_line(target.read_bytes()) == {"a": "1", "b": "2"}
    members = gzip.compress(b"# One\n") + gzip.compress(b"\nTwo\n")
    assert convert(converter, tmp_path / "a.md.gz", members, target) == 1
    row = parse_converted_line(target.read_bytes())
    assert isinstance(row, dict)
    assert row["text"] == "# One\n\nTwo"


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (gzip.compress(gzip.compress(b"a,b\n")), "compressed more than once"),
        (gzip.compress(b"%PDF-1.4"), "holds pdf, not csv as its name says"),
        (gzip.compress(b"\x89PNG\r\n\x1a\n"), "what it holds is an image"),
        (gzip.compress(b"a,b\n1,2\n" * 99)[:-9], "breaks off or is damaged"),
        (gzip.compress(b"a,b\n") + b"tail", "breaks off or is damaged"),
    ],
    # gzip notes the time, which must not be part of a test's name.
    ids=["twice", "pdf", "image", "cut", "tail"],
)
def test_what_a_compressed_file_holds_is_checked(
    converter: Converter, tmp_path: Path, target: Path, content: bytes, said: str
) -> None:
    with pytest.raises(UnreadableFile) as refused:
        convert(converter, tmp_path / "a.csv.gz", content, target)
    assert said in refused.value.message
    assert list(target.parent.iterdir()) == []


def test_one_child_serves_many_files_bad_ones_too(
    converter: Converter, tmp_path: Path, target: Path
) -> None:
    convert(converter, tmp_path / "a.csv", b"a\n1\n", target)
    first = child_of(converter)
    with pytest.raises(UnreadableFile):
        convert(converter, tmp_path / "b.csv", b"\xff\xff\n", target)
    convert(converter, tmp_path / "c.txt", b"text", target)
    assert child_of(converter) == first


def test_a_child_that_died_is_replaced(converter: Converter, tmp_path: Path, target: Path) -> None:
    convert(converter, tmp_path / "a.csv", b"a\n1\n", target)
    os.kill(child_of(converter), signal.SIGKILL)
    assert wait_until_gone(child_of(converter))
    assert convert(converter, tmp_path / "a.csv", b"a\n1\n2\n", target) == 2


def test_a_file_over_time_ends_its_child_and_leaves_nothing(tmp_path: Path, target: Path) -> None:
    rows = b"a,b\n" + b'"[1,2]",x\n' * 400_000
    with Converter(Limits(seconds=0.2)) as converter:
        convert(converter, tmp_path / "small.csv", b"a\n1\n", target)
        target.unlink()
        child = child_of(converter)
        with pytest.raises(UnreadableFile, match="takes longer than") as told:
            convert(converter, tmp_path / "a.csv", rows, target)
        assert told.value.fault is Fault.LIMIT
        assert not is_running(child)
        assert list(target.parent.iterdir()) == []
        assert convert(converter, tmp_path / "small.csv", b"a\n1\n", target) == 1


def test_time_grows_with_the_size_of_the_file() -> None:
    limits = Limits(seconds=60)
    assert limits.seconds_for(1000) == limits.seconds_for(MIB) == 60
    assert limits.seconds_for(5 * MIB) == 120


def test_memory_is_bounded(tmp_path: Path, target: Path) -> None:
    with Converter(Limits(memory=64 * MIB)) as converter:
        with pytest.raises(UnreadableFile, match="needs more than 64 MiB of memory") as told:
            convert(converter, tmp_path / "a.txt", b"word " * (8 * MIB), target)
        assert told.value.fault is Fault.LIMIT
        assert convert(converter, tmp_path / "b.txt", b"word", target) == 1


def test_output_is_bounded(tmp_path: Path, target: Path) -> None:
    with Converter(Limits(output=MIB)) as converter:
        with pytest.raises(UnreadableFile, match="becomes more than 1 MiB") as told:
            convert(
                converter, tmp_path / "a.csv", b"long name of a column\nx\n" + b"y\n" * MIB, target
            )
        assert told.value.fault is Fault.LIMIT
        assert list(target.parent.iterdir()) == []


def test_what_inflates_too_far_is_refused(tmp_path: Path, target: Path) -> None:
    bomb = gzip.compress(b"\0" * (4 * MIB))
    with Converter(Limits(ratio_after=MIB)) as converter:
        with pytest.raises(UnreadableFile, match="more than 200 times its size") as told:
            convert(converter, tmp_path / "a.jsonl.gz", bomb, target)
        assert told.value.fault is Fault.LIMIT


def test_a_full_disk_is_not_the_files_fault(converter: Converter, tmp_path: Path) -> None:
    path = tmp_path / "a.csv"
    path.write_bytes(b"a\n1\n")
    with pytest.raises(FileNotFoundError):
        converter.convert(path, "a.csv", FileKind.CSV, None, tmp_path / "absent" / "rows")


def test_closing_ends_the_child(tmp_path: Path, target: Path) -> None:
    with Converter() as converter:
        convert(converter, tmp_path / "a.csv", b"a\n1\n", target)
        child = child_of(converter)
    assert not is_running(child)


SLOW = """
import signal, sys
from pathlib import Path
from finetune_trainer.ingest.converter import Converter
from finetune_trainer.ingest.kinds import FileKind

class Stopped(Exception): pass

def stop(*_): raise Stopped

if sys.argv[2] == "handled":
    signal.signal(signal.SIGTERM, stop)
folder = Path(sys.argv[1])
with Converter() as converter:
    converter.convert(folder / "small.csv", "small.csv", FileKind.CSV, None, folder / "rows")
    print(converter._child.pid, flush=True)
    try:
        converter.convert(folder / "big.csv", "big.csv", FileKind.CSV, None, folder / "rows")
    except Stopped:
        print(converter._child, flush=True)
"""


@pytest.mark.parametrize(
    ("ends_by", "mode"),
    [
        (signal.SIGTERM, "handled"),
        (signal.SIGTERM, "default"),
        (signal.SIGKILL, "default"),
    ],
)
def test_no_child_outlives_a_converter_that_is_stopped(
    tmp_path: Path, ends_by: signal.Signals, mode: str
) -> None:
    (tmp_path / "small.csv").write_bytes(b"a\n1\n")
    (tmp_path / "big.csv").write_bytes(b"a,b\n" + b'"[1,2]",x\n' * 4_000_000)
    with subprocess.Popen(
        [sys.executable, "-c", SLOW, str(tmp_path), mode], stdout=subprocess.PIPE, text=True
    ) as parent:
        assert parent.stdout is not None
        child = int(parent.stdout.readline())
        time.sleep(0.3)
        assert is_running(child)
        parent.send_signal(ends_by)
        assert wait_until_gone(child)
        said = parent.stdout.read()
        parent.wait()
    if mode == "handled":
        assert said.strip() == "None"
        assert sorted(path.name for path in tmp_path.iterdir()) == ["big.csv", "rows", "small.csv"]


def test_neither_side_imports_torch_and_csv_needs_no_parsers_of_documents() -> None:
    code = (
        "import sys\n"
        "from finetune_trainer.ingest import converter, child, readers\n"
        "from finetune_trainer.ingest.kinds import FileKind\n"
        "light = ('pypdf', 'trafilatura', 'lxml', 'pyarrow', 'numpy', 'torch', 'transformers')\n"
        "readers.prepare(FileKind.CSV, None)\n"
        "assert not set(light) & set(sys.modules), set(light) & set(sys.modules)\n"
        "for kind in FileKind: readers.prepare(kind, None)\n"
        "assert 'pyarrow' in sys.modules and 'pypdf' in sys.modules\n"
        "assert not {'torch', 'transformers'} & set(sys.modules)\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


def test_the_child_takes_no_credentials_and_reaches_no_network(
    tmp_path: Path, target: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "do-not-pass-on")
    with Converter() as converter:
        convert(converter, tmp_path / "a.csv", b"a\n1\n", target)
        environment = Path(f"/proc/{child_of(converter)}/environ").read_bytes()
    assert b"do-not-pass-on" not in environment
    code = (
        "import socket\n"
        "from finetune_trainer.ingest import confine\n"
        "confine.give_up_rights(2**20)\n"
        "socket.create_connection(('127.0.0.1', 9))\n"
    )
    ran = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert "PermissionError: socket." in ran.stderr


def test_lines_give_back_rows_and_faults(tmp_path: Path) -> None:
    invalid = InvalidRow(Fault.RECORD, "has 2 cells", "a")
    deep: list[object] = []
    for _ in range(100_000):
        deep = [deep]
    with (tmp_path / "rows").open("wb") as file:
        writer = RowWriter(file, longest=60)
        writer.write({"text": "ä\n!"})
        writer.write_invalid(invalid)
        writer.write({"text": "\ud800"})
        writer.write({"text": "x" * 60})
        writer.write({"text": deep})
    lines = (tmp_path / "rows").read_bytes().split(b"\n")[:-1]
    rows = [parse_converted_line(line) for line in lines]
    assert writer.rows == len(rows) == 5
    assert rows[0] == {"text": "ä\n!"}
    assert rows[2] == {"text": "\ud800"}
    assert isinstance(rows[1], InvalidRow)
    assert (rows[1].fault, rows[1].message, rows[1].field) == (Fault.RECORD, "has 2 cells", "a")
    assert [row.fault for row in rows[3:] if isinstance(row, InvalidRow)] == [
        Fault.LINE_LENGTH,
        Fault.JSON,
    ]


@pytest.mark.parametrize("line", [b"", b"{}", b"[1]", b"null", b'{"rows": 1}', b"\xff"])
def test_a_reply_that_is_none_is_refused(line: bytes) -> None:
    with pytest.raises(ValueError, match=r"Expecting value|not a reply|can't decode"):
        messages.decode_reply(line)


def test_a_reply_survives_its_way() -> None:
    reply = messages.Reply(rows=3, fault=Fault.LIMIT, message="ä", spent=True)
    assert messages.decode_reply(messages.encode(reply)) == reply
    assert json.loads(messages.encode(reply))["fault"] == "OverLimit"
