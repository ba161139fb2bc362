"""What a file is: by its content, then by its name."""

import gzip
from pathlib import Path

import pyarrow as pa
import pytest
from finetune_trainer.ingest.kinds import Compression, FileKind, compression_of, kind_of, why_not

from tests.unit.trainer.ingest.support import make_docx, make_pdf, paragraph

PDF = make_pdf([["text"]])
DOCX = make_docx(paragraph("text"))
PARQUET = b"PAR1\x15\x00\x15PAR1"
OLE = b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1"


@pytest.mark.parametrize(
    ("content", "name", "kind"),
    [
        (b'{"text": "a"}', "a.jsonl", FileKind.ROWS),
        (b"not JSON", "a.json", FileKind.ROWS),
        (b"", "a.ndjson", FileKind.ROWS),
        (b'{"text": "a"}', "a.txt", FileKind.PLAIN),
        (b'\xef\xbb\xbf {"text": "a"}', "part-00000", FileKind.ROWS),
        (b"<!DOCTYPE html><html>", "download", FileKind.HTML),
        (b"a,b\n", "A.CSV", FileKind.CSV),
        (b"ID3,ORC\n1,2\n", "a.csv", FileKind.CSV),
        (b"a\tb\n", "a.tsv", FileKind.TSV),
        (PDF, "a.txt", FileKind.PDF),
        (b"junk\n" + PDF, "a.pdf", FileKind.PDF),
        (b"junk\n%PDF-1.4 is how such files begin", "a.txt", FileKind.PLAIN),
        (DOCX, "upload.bin", FileKind.DOCX),
        (PARQUET, "train", FileKind.PARQUET),
        (b"# Title", "README.md", FileKind.MARKDOWN),
        (b"<p>a", "a.htm", FileKind.HTML),
    ],
)
def test_the_kind_of_a_file(tmp_path: Path, content: bytes, name: str, kind: FileKind) -> None:
    (tmp_path / "file").write_bytes(content)
    assert kind_of(tmp_path / "file", name) is kind


@pytest.mark.parametrize(
    ("content", "name", "said"),
    [
        (b"PK\x03\x04....xl/workbook.xml", "a.xlsx", "Excel workbook: save it as CSV"),
        (b"PK\x03\x04....xl/workbook.xml", "a.csv", "Excel workbook: save it as CSV"),
        (b"PK\x03\x04....xl/workbook.xml", "a.docx", "Excel workbook"),
        (b"PK\x03\x04....ppt/presentation.xml", "a.pptx", "PowerPoint"),
        (b"PK\x03\x04....train.jsonl", "a.zip", "zip archive: unpack it"),
        (OLE + "WordDocument".encode("utf-16-le"), "a.doc", "save it as DOCX"),
        (OLE + "EncryptedPackage".encode("utf-16-le"), "a.docx", "protected by a password"),
        (b"\x89PNG\r\n\x1a\n", "a.png", "image"),
        (b"\x89PNG\r\n\x1a\n", "a.txt", "image"),
        (b"", "_SUCCESS", "is empty"),
        (b"some text", "LICENSE", "unknown kind: rows are read from"),
        (b"a: 1", "a.yaml", "YAML"),
        (gzip.compress(b"x", mtime=0), "a.tar.gz", "archive"),
        (gzip.compress(b"x", mtime=0), "a.gz", "name it as in data.jsonl.gz"),
        (b"BZh91AY&SY", "a.jsonl.bz2", "use gzip or Zstandard"),
    ],
)
def test_a_file_that_gives_no_rows_is_named(
    tmp_path: Path, content: bytes, name: str, said: str
) -> None:
    (tmp_path / "file").write_bytes(content)
    assert kind_of(tmp_path / "file", name) is None
    assert said in why_not(tmp_path / "file", name)


def test_a_compressed_file_is_known_by_its_bytes_and_judged_by_its_name(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_bytes(gzip.compress(b"a,b\n"))
    assert compression_of(path) is Compression.GZIP
    assert kind_of(path, "a.csv.gz") is FileKind.CSV
    assert kind_of(path, "a.csv") is FileKind.CSV
    path.write_bytes(pa.compress(b"{}", "zstd", asbytes=True))
    assert compression_of(path) is Compression.ZSTD
    assert kind_of(path, "a.jsonl.zst") is FileKind.ROWS
    path.write_bytes(b"{}")
    assert compression_of(path) is None
