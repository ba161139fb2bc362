"""Read images out of buildah's storage, byte for byte as they were packed.

buildah can only export whole images, and compresses layers for a target that could reuse some. But
its storage (github.com/containers/storage) keeps for each layer the unpacked files and a
"tar-split" (github.com/vbatts/tar-split): the headers and padding of the tar it came as. Both
together give the layer back with its digest, so one small layer can be had alone.
"""

from __future__ import annotations

import base64
import gzip
import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

_FILE, _SEGMENT = 1, 2
_CHUNK = 1 << 20


@dataclass(frozen=True)
class Layer:
    """One layer on disk."""

    digest: str
    """Of the uncompressed tar."""
    size: int
    """Bytes of that tar."""
    files: Path
    split: Path

    def tar(self) -> Iterator[bytes]:
        """The tar in pieces."""
        with gzip.open(self.split, "rt", encoding="utf-8") as entries:
            for line in entries:
                entry = json.loads(line)
                if entry["type"] == _SEGMENT:
                    yield base64.b64decode(entry["payload"])
                elif entry["type"] == _FILE and entry.get("size", 0):
                    yield from _content(self.files / _name(entry))


@dataclass(frozen=True)
class Stored:
    """One image on disk."""

    manifest: bytes
    config: bytes
    config_digest: str
    layers: tuple[Layer, ...]
    """Lowest first."""


def load(root: Path, identifier: str) -> Stored:
    """An image of the storage in `root` by its id."""
    folder = root / "overlay-images" / identifier
    manifest = (folder / "manifest").read_bytes()
    described = json.loads(manifest)
    digest = str(described["config"]["digest"])
    present = _layers(root)
    layers = tuple(present[layer["digest"]] for layer in described["layers"])
    return Stored(manifest, (folder / _file_name(digest)).read_bytes(), digest, layers)


def _layers(root: Path) -> dict[str, Layer]:
    listed = json.loads((root / "overlay-layers" / "layers.json").read_text())
    return {
        each["diff-digest"]: Layer(
            digest=each["diff-digest"],
            size=each["diff-size"],
            files=root / "overlay" / each["id"] / "diff",
            split=root / "overlay-layers" / f"{each['id']}.tar-split.gz",
        )
        for each in listed
        if "diff-digest" in each
    }


def _file_name(key: str) -> str:
    """How the storage names a file whose key holds a colon."""
    return "=" + base64.standard_b64encode(key.encode()).decode()


def _name(entry: dict[str, str]) -> str:
    """A path that is not UTF-8 is kept raw."""
    if "name_raw" in entry:
        return base64.b64decode(entry["name_raw"]).decode(errors="surrogateescape")
    return entry["name"]


def _content(path: Path) -> Iterator[bytes]:
    with path.open("rb") as file:
        while chunk := file.read(_CHUNK):
            yield chunk
