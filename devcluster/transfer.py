"""Bring an image from buildah's storage into containerd, moving only what is new.

Layers stay uncompressed, so a layer has one digest on both sides and it can be seen which of them
containerd lacks. Exactly these go into an OCI archive that is written into `ctr images import`
while it is read: no copy on disk, and kilobytes after a change of code.
"""

from __future__ import annotations

import hashlib
import io
import json
import subprocess
import tarfile
from collections.abc import Iterator
from pathlib import Path
from typing import IO

from devcluster import buildah, commands, storage
from devcluster.errors import CommandFailed, Refusal
from devcluster.paths import Layout
from devcluster.progress import step

NAMESPACE = "k8s.io"
_INDEX = "application/vnd.oci.image.index.v1+json"
_MANIFEST = "application/vnd.oci.image.manifest.v1+json"


def ctr(layout: Layout) -> list[str]:
    """containerd's own client on our containerd, in the kubelet's namespace."""
    return ["ctr", f"--address={layout.containerd_socket}", f"--namespace={NAMESPACE}"]


def import_image(layout: Layout, tag: str) -> bool:
    """Make containerd's image the same as buildah's; False if it was already."""
    identifier = buildah.image_id(layout, tag)
    if identifier is None:
        raise Refusal(f"There is no image {tag}: run `python -m devcluster images`.")
    image = storage.load(buildah.root(layout), identifier)
    if _present(layout, tag) == sha256(image.manifest):
        return False
    new = [layer for layer in image.layers if not _has_blob(layout, layer.digest)]
    size = sum(layer.size for layer in new)
    with step(f"Importing {tag}: {size / 2**20:.1f} MiB in {len(new)} new layers"):
        command = [*ctr(layout), "images", "import", "--digests=false", "-"]
        with subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE
        ) as importing:
            assert importing.stdin is not None
            assert importing.stderr is not None
            broken = _feed(importing.stdin, tag, image, new)
            errors = importing.stderr.read().decode(errors="replace").strip()
        if importing.returncode or broken:
            raise CommandFailed(f"containerd refused {tag}: {errors}")
    return True


def _feed(pipe: IO[bytes], tag: str, image: storage.Stored, new: list[storage.Layer]) -> bool:
    """Write the archive; whether the reader went away before its end."""
    try:
        with pipe:
            write_archive(pipe, tag, image, new)
    except BrokenPipeError:
        return True
    return False


def write_archive(
    output: IO[bytes], tag: str, image: storage.Stored, layers: list[storage.Layer]
) -> None:
    """An OCI image layout as a tar, with some of the image's layers."""
    manifest = {
        "mediaType": _MANIFEST,
        "digest": sha256(image.manifest),
        "size": len(image.manifest),
        "annotations": {"io.containerd.image.name": tag},
    }
    index = {"schemaVersion": 2, "mediaType": _INDEX, "manifests": [manifest]}
    with tarfile.open(fileobj=output, mode="w|") as archive:
        _add(archive, "oci-layout", b'{"imageLayoutVersion": "1.0.0"}')
        for layer in layers:
            member = tarfile.TarInfo(_blob_name(layer.digest))
            member.size = layer.size
            archive.addfile(member, Pieces(layer.tar()))
        _add(archive, _blob_name(image.config_digest), image.config)
        _add(archive, _blob_name(sha256(image.manifest)), image.manifest)
        _add(archive, "index.json", json.dumps(index).encode())


def sha256(content: bytes) -> str:
    return "sha256:" + hashlib.sha256(content).hexdigest()


def _add(archive: tarfile.TarFile, name: str, content: bytes) -> None:
    member = tarfile.TarInfo(name)
    member.size = len(content)
    archive.addfile(member, io.BytesIO(content))


def _blob_name(digest: str) -> str:
    return "blobs/sha256/" + digest.removeprefix("sha256:")


def _present(layout: Layout, tag: str) -> str | None:
    """Digest of the manifest that containerd has under this name."""
    lines = commands.run([*ctr(layout), "images", "list", f"name=={tag}"]).splitlines()[1:]
    return lines[0].split()[2] if lines else None


def _has_blob(layout: Layout, digest: str) -> bool:
    """Whether containerd's content store, which is laid out like an OCI layout, has a blob."""
    content = layout.home / "containerd" / "io.containerd.content.v1.content"
    return (content / Path(_blob_name(digest))).exists()


class Pieces(io.RawIOBase):
    """A file to read from, made of pieces that come one after the other."""

    def __init__(self, pieces: Iterator[bytes]) -> None:
        self._pieces = pieces
        self._rest = b""

    def read(self, size: int = -1) -> bytes:
        """Exactly `size` bytes unless the pieces end, which is what tarfile needs."""
        parts, wanted = [], size
        while wanted > 0:
            if not self._rest:
                piece = next(self._pieces, None)
                if piece is None:
                    break
                self._rest = piece
            parts.append(self._rest[:wanted])
            self._rest = self._rest[wanted:]
            wanted -= len(parts[-1])
        return b"".join(parts)
