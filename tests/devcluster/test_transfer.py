"""Only new layers are moved, and they arrive byte for byte."""

from __future__ import annotations

import base64
import gzip
import io
import json
import tarfile
from pathlib import Path

from devcluster import storage, transfer

TAG = "docker.io/example/image:dev"
DATA = b"print('hello')\n" * 100


def packed() -> bytes:
    """A layer as a builder packed it."""
    output = io.BytesIO()
    with tarfile.open(fileobj=output, mode="w") as archive:
        for name in ("app", "app/main.py"):
            member = tarfile.TarInfo(name)
            member.type = tarfile.DIRTYPE if name == "app" else tarfile.REGTYPE
            member.size = 0 if name == "app" else len(DATA)
            archive.addfile(member, io.BytesIO(DATA))
    return output.getvalue()


def store(root: Path) -> bytes:
    """Put an image with one layer into a storage folder, split as buildah splits it."""
    tar = packed()
    digest = transfer.sha256(tar)
    start = tar.index(DATA)
    entries = [
        {"type": 2, "payload": base64.b64encode(tar[:512]).decode()},
        {"type": 1, "name": "app", "payload": None},
        {"type": 2, "payload": base64.b64encode(tar[512:start]).decode()},
        {"type": 1, "name": "app/main.py", "size": len(DATA), "payload": "crc"},
        {"type": 2, "payload": base64.b64encode(tar[start + len(DATA) :]).decode()},
    ]
    layers = root / "overlay-layers"
    layers.mkdir()
    with gzip.open(layers / "one.tar-split.gz", "wt") as split:
        split.writelines(json.dumps(entry) + "\n" for entry in entries)
    listed = [{"id": "half-made"}, {"id": "one", "diff-digest": digest, "diff-size": len(tar)}]
    (layers / "layers.json").write_text(json.dumps(listed))
    files = root / "overlay" / "one" / "diff" / "app"
    files.mkdir(parents=True)
    (files / "main.py").write_bytes(DATA)
    config = b'{"os": "linux"}'
    image = root / "overlay-images" / "abc"
    image.mkdir(parents=True)
    described = {"config": {"digest": transfer.sha256(config)}, "layers": [{"digest": digest}]}
    (image / "manifest").write_text(json.dumps(described))
    key = base64.b64encode(transfer.sha256(config).encode()).decode()
    (image / f"={key}").write_bytes(config)
    return tar


def archived(image: storage.Stored, layers: list[storage.Layer]) -> dict[str, bytes]:
    output = io.BytesIO()
    transfer.write_archive(output, TAG, image, layers)
    output.seek(0)
    with tarfile.open(fileobj=output) as archive:
        members = {each.name: archive.extractfile(each) for each in archive.getmembers()}
        return {name: file.read() for name, file in members.items() if file is not None}


def test_a_layer_comes_out_of_storage_as_it_was_packed(tmp_path: Path) -> None:
    tar = store(tmp_path)
    (layer,) = storage.load(tmp_path, "abc").layers
    assert b"".join(layer.tar()) == tar


def test_an_archive_holds_the_new_layers_under_their_digests(tmp_path: Path) -> None:
    tar = store(tmp_path)
    image = storage.load(tmp_path, "abc")
    found = archived(image, list(image.layers))
    for name, content in found.items():
        if name.startswith("blobs/"):
            assert name == "blobs/sha256/" + transfer.sha256(content).removeprefix("sha256:")
    assert tar in found.values()
    index = json.loads(found["index.json"])
    assert index["manifests"][0]["annotations"] == {"io.containerd.image.name": TAG}
    assert index["manifests"][0]["digest"] == transfer.sha256(image.manifest)


def test_layers_that_are_there_already_are_not_moved(tmp_path: Path) -> None:
    tar = store(tmp_path)
    image = storage.load(tmp_path, "abc")
    found = archived(image, [])
    assert tar not in found.values()
    assert image.config in found.values()


def test_pieces_are_read_in_the_sizes_that_are_asked_for() -> None:
    file = transfer.Pieces(iter([b"abc", b"", b"defg", b"h"]))
    assert [file.read(2), file.read(3), file.read(100), file.read(1)] == [
        b"ab",
        b"cde",
        b"fgh",
        b"",
    ]
