"""A folder of files that were made to do harm ends in a report that names each of them."""

import json
import random

import pytest
from finetune_trainer.preparation.run import RefusedDataError

from tests.unit.trainer.ingest.hostile import CANARY, mutated, sound_files
from tests.unit.trainer.prepare.conftest import World, good_rows, report

ROWS = "".join(json.dumps(row) + "\n" for row in good_rows(6))
DEEP = "[" * 100_000
CRAFTED: dict[str, bytes] = {
    "deep.jsonl": DEEP.encode(),
    "deep-object.json": ('{"a":' * 50_000 + "1" + "}" * 50_000).encode(),
    "broken-array.json": b'[{"instruction": "a", "response": "b"}, {"instruc',
    "followed.json": b'[{"instruction": "a", "response": "b"}] and more',
    "not-an-object.jsonl": b"1\n2\n[]\nnull\n",
    "latin.jsonl": '{"instruction": "é", "response": "ü"}'.encode("latin-1"),
    "utf16.jsonl": ROWS.encode("utf-16"),
    "nul.jsonl": b"\0" * 5000,
    "surrogate.jsonl": b'{"instruction": "\\ud800", "response": "b"}\n',
    "number.jsonl": b'{"instruction": "a", "response": ' + b"9" * 9000 + b"}\n",
    "infinite.jsonl": b'{"instruction": "a", "response": Infinity}\n',
    "types.jsonl": b'{"instruction": ["a"], "response": {"b": 1}}\n',
    "turns.jsonl": b'{"messages": [[], 1, {"role": "x"}, {"role": "user", "content": [{}]}]}\n',
    "empty-array.json": b"[]",
    "spaces.json": b" \n\t " * 1000,
    "image.jsonl": b"\x89PNG\r\n\x1a\n" + bytes(2000),
}


def fuzzed(count: int) -> dict[str, bytes]:
    """Rows and documents with bytes changed, moved, doubled and cut off."""
    chooser = random.Random(20)
    array = f"[{','.join(ROWS.splitlines())}]"
    sound = {**sound_files(), "rows.jsonl": ROWS.encode(), "rows.json": array.encode()}
    kinds = list(sound)
    made = {}
    for number in range(count):
        name = kinds[number % len(kinds)]
        made[f"{number:03d}-{name}"] = mutated(sound[name], chooser)
    return made


@pytest.mark.timeout(600)
def test_every_file_is_read_or_named(world: World) -> None:
    folder = world.root / "hostile"
    folder.mkdir()
    for name, content in {**CRAFTED, **fuzzed(200)}.items():
        (folder / name.replace("/", "-")).write_bytes(content or b" ")
    with (folder / "long.jsonl").open("wb") as file:
        file.seek(100 * 2**20)
        file.write(b"}")

    with pytest.raises(RefusedDataError) as caught:
        world.prepare(method="CPT", data={"train": [{"uri": folder.as_uri()}]})

    made = report(caught.value)
    made.pop("samples")
    assert CANARY not in json.dumps(made)
    (source,) = made["sources"]
    assert len(source["files"]) == len(list(folder.iterdir()))
    unread = {error["file"] for error in made["unreadable"]}
    told = {file["uri"] for file in source["files"] if file["shape"]}
    assert unread | told == {file["uri"] for file in source["files"]}
