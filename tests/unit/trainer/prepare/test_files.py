"""Files of every kind, as people bring them, become the same tokens."""

import csv
import gzip
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from finetune_api.errors import UserError
from finetune_api.messages import PrepareMessage
from finetune_trainer.preparation.run import RefusedDataError
from finetune_trainer.prepared import PreparedSplit

from tests.unit.trainer.ingest.support import make_docx, make_pdf, paragraph
from tests.unit.trainer.prepare.conftest import World, good_rows, prepared, report

ROWS = good_rows(25)


def jsonl(path: Path) -> None:
    path.write_text("".join(json.dumps(row) + "\n" for row in ROWS))


def array(path: Path) -> None:
    path.write_text(json.dumps(ROWS, indent=1))


def gz(path: Path) -> None:
    path.write_bytes(gzip.compress("".join(json.dumps(row) + "\n" for row in ROWS).encode()))


def zst(path: Path) -> None:
    codec = pa.Codec("zstd")
    path.write_bytes(codec.compress(json.dumps(ROWS).encode(), asbytes=True))


def table(path: Path, delimiter: str = ",") -> None:
    with path.open("w", newline="") as file:
        writer = csv.DictWriter(file, ["instruction", "response"], delimiter=delimiter)
        writer.writeheader()
        writer.writerows(ROWS)


def parquet(path: Path) -> None:
    pq.write_table(pa.Table.from_pylist(ROWS), path, compression="zstd")


WRITERS: dict[str, Callable[[Path], None]] = {
    "rows.jsonl": jsonl,
    "rows.json": array,
    "rows.jsonl.gz": gz,
    "rows.json.zst": zst,
    "rows.csv": table,
    "rows.tsv": lambda path: table(path, "\t"),
    "rows.parquet": parquet,
}


def prepare(world: World, uri: str, **changes: Any) -> PrepareMessage:
    data = {"train": [{"uri": uri}], **changes.pop("data", {})}
    return world.prepare(data=data, **changes)


@pytest.mark.parametrize("name", WRITERS)
def test_rows_in_any_kind_of_file_are_the_same_rows(world: World, name: str) -> None:
    jsonl(world.root / "plain.jsonl")
    WRITERS[name](world.root / name)

    expected = prepared(prepare(world, (world.root / "plain.jsonl").as_uri())).train
    made = prepared(prepare(world, (world.root / name).as_uri())).train

    assert made.tokens.tolist() == expected.tokens.tolist()
    assert made.units == 20
    # Lines of a CSV file, of which the first is its header, are counted as its rows.
    assert made.source_rows.tolist() == expected.source_rows.tolist()


def test_the_files_of_a_folder_are_read_in_order_and_rows_keep_their_places(world: World) -> None:
    folder = world.root / "many"
    folder.mkdir()
    for number in range(4):
        lines = [json.dumps(row) for row in ROWS[6 * number : 6 * number + 6]]
        (folder / f"part-{number}.jsonl").write_text("\n\n".join(lines))
    good, bad = (json.dumps(row) for row in (ROWS[0], {"instruction": "only a question"}))
    (folder / "part-2.jsonl").write_text(f"{good}\n\n{bad}\n")

    with pytest.raises(RefusedDataError) as caught:
        prepare(world, folder.as_uri())
    message = prepare(world, folder.as_uri(), data={"checks": {"maxInvalidRows": 1}})

    assert caught.value.where == f"{folder.as_uri()}/part-2.jsonl:3"
    (source,) = prepared(message).metadata.sources
    assert [file.lines for file in source.files] == [11, 11, 3, 11]
    assert (source.rows, source.lines) == (20, 36)
    train: PreparedSplit = prepared(message).train
    places = {source.place(int(row)) for row in train.source_rows}
    names = {uri.rpartition("/")[2] for uri, _ in places}
    assert names == {f"part-{number}.jsonl" for number in range(4)}
    assert {row % 2 for _, row in places} == {1}


@pytest.fixture
def manuals(world: World) -> Path:
    """A folder of documents of every kind."""
    folder = world.root / "manuals"
    folder.mkdir()
    words = "The drum turns to the left until the lamp goes out and the lid can be opened. "
    (folder / "plain.txt").write_text(f"Plain\n\n{words * 8}")
    (folder / "mark.md").write_text(f"# Mark\n\n{words.upper() * 8}")
    (folder / "page.html").write_text(
        f"<html><head><title>Page</title></head><body><p>{words.title() * 8}</p></body></html>"
    )
    (folder / "contract.pdf").write_bytes(make_pdf([[f"first page {words}"] * 3, ["second " * 30]]))
    (folder / "guide.docx").write_bytes(
        make_docx(paragraph("Guide") + paragraph(words.swapcase() * 8))
    )
    return folder


def documents(world: World, uri: str, **source: Any) -> PrepareMessage:
    data = {"train": [{"uri": uri, **source}], "evaluationFraction": "0.2"}
    return world.prepare(method="CPT", data=data, training={"sequenceLength": 2048})


def texts(world: World, message: PrepareMessage) -> list[str]:
    made = prepared(message)
    from transformers import AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(world.model)
    splits = (made.train, made.evaluation)
    return [tokenizer.decode(split.row(n)[0]) for split in splits for n in range(len(split))]


def test_a_folder_of_documents_is_a_corpus(world: World, manuals: Path) -> None:
    message = documents(world, manuals.as_uri())

    found = "".join(texts(world, message)).split("</s>")[:-1]
    assert len(found) == 5
    assert sum("drum turns" in text for text in found) == 2
    assert sum("Drum Turns" in text for text in found) == 1
    assert {file.shape for s in prepared(message).metadata.sources for file in s.files} == {
        "Document"
    }


def test_what_the_name_alone_decides_makes_the_data_anew(world: World) -> None:
    page = world.root / "page.txt"
    page.write_text(f"<html><body><p>{'It turns to the left and stops. ' * 20}</p></body></html>")
    as_text = documents(world, page.as_uri())
    page = page.rename(world.root / "page.html")

    as_page = documents(world, page.as_uri())

    assert as_text.prepared is not None
    assert as_page.prepared is not None
    assert as_text.prepared.data_hash != as_page.prepared.data_hash
    assert as_text.prepared.recipe_hash != as_page.prepared.recipe_hash


def test_a_template_puts_title_and_source_into_documents(world: World, manuals: Path) -> None:
    uri = f"{manuals.as_uri()}/*.[hm]*"

    message = documents(world, uri, template="{{ title }} from {{ source }}:\n{{ text }}")

    assert {text.split(":")[0].removeprefix("<s>") for text in texts(world, message)} == {
        "Page from page.html",
        "Mark from mark.md",
    }


def test_a_document_that_cannot_be_read_is_named(world: World, manuals: Path) -> None:
    (manuals / "scan.pdf").write_bytes(make_pdf([[""], [""]]))
    (manuals / "broken.docx").write_bytes(b"PK\x03\x04word/document.xml and then nothing")
    (manuals / "table.xlsx").write_bytes(b"PK\x03\x04 xl/workbook.xml")

    with pytest.raises(RefusedDataError, match="3 rows are invalid") as caught:
        documents(world, manuals.as_uri())

    errors = caught.value.data.first_errors or []
    assert {e.file.rpartition("/")[2] for e in errors} == {"scan.pdf", "broken.docx", "table.xlsx"}
    assert any("needs OCR" in error.message for error in errors)
    assert report(caught.value)["invalid"]["NeedsOcr"] == 1


def test_documents_are_no_rows(world: World, manuals: Path) -> None:
    with pytest.raises(RefusedDataError, match="is a document, which method CPT trains on"):
        prepare(world, manuals.as_uri())


@pytest.mark.parametrize(
    ("source", "said"),
    [
        ({"format": "Text"}, "format says Text: write Document"),
        ({"fields": {"text": "body"}}, "documents have none"),
    ],
)
def test_what_documents_do_not_have_is_refused(
    world: World, manuals: Path, source: dict[str, Any], said: str
) -> None:
    with pytest.raises(UserError, match=said):
        documents(world, manuals.as_uri(), **source)


def test_personal_data_in_a_pdf_is_told_with_its_page(world: World, manuals: Path) -> None:
    pages = [["The contract begins here. " * 8], ["Write to jane.doe@acme-handels.de now. " * 4]]
    (manuals / "letter.pdf").write_bytes(make_pdf(pages))

    message = documents(world, f"{manuals.as_uri()}/letter.pdf")

    (check,) = [c for c in report(message)["checks"] if c["check"] == "personalData"]
    assert check["first"][0]["field"] == "page 2"
