"""The files of a job's sources on this machine."""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from finetune_api.hashing import canonical_digest
from finetune_api.spec import RowSource

WILD = re.compile(r"[*\[]")
"""Begins a pattern in an address."""


@dataclass(frozen=True)
class LocalFile:
    """A file of a source."""

    uri: str
    """Where it came from."""
    path: Path
    sha256: str
    """Digest of its bytes."""
    size: int
    """Bytes."""


@dataclass(frozen=True)
class LocalSource:
    """A source whose files lie on this machine."""

    source: RowSource
    files: tuple[LocalFile, ...]
    """In the order of their addresses."""

    @property
    def sha256(self) -> str:
        """Digest of the only file; of several that of their names and digests."""
        if len(self.files) == 1:
            return self.files[0].sha256
        folder = folder_of(self.source.uri)
        return canonical_digest({f.uri.removeprefix(folder): f.sha256 for f in self.files})

    @property
    def digest(self) -> str:
        """Equal where the same is read: of the content, and of what names decide about it. The end
        of a name says what kind of text a file is, and a template may show the whole of it."""
        names = [file.uri.rpartition("/")[2] for file in self.files]
        if self.source.template is None:
            names = [name.partition(".")[2].lower() for name in names]
        return canonical_digest({"content": self.sha256, "names": names})


@dataclass(frozen=True)
class LocalSources:
    """All sources of a job on this machine."""

    train: Sequence[LocalSource]
    replay: Sequence[LocalSource]
    evaluation: Sequence[LocalSource]
    domain: Sequence[LocalSource] = ()
    """What relevance is measured against; no row of it is trained on."""

    @property
    def all(self) -> list[LocalSource]:
        """In the order in which `PreparedMetadata.sources` counts them."""
        return [*self.train, *self.replay, *self.evaluation]

    @property
    def size(self) -> int:
        """Bytes in all."""
        return sum(file.size for local in self.all for file in local.files)


def folder_of(uri: str) -> str:
    """The folder that the files of a source lie in or below."""
    wild = WILD.search(uri)
    if wild:
        return uri[: wild.start()].rpartition("/")[0]
    return uri.rstrip("/")
