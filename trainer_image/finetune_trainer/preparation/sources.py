"""The files that the sources of a job name, on this machine."""

import hashlib
import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from finetune_api.errors import UserError
from finetune_api.reasons import Reason
from finetune_api.spec import RowSource

from finetune_trainer.preparation.local_files import WILD, LocalFile, LocalSource, folder_of
from finetune_trainer.storage import Download, ObjectInfo, Store
from finetune_trainer.storage.addresses import relative_to
from finetune_trainer.transfer_log import TransferLog

Say = Callable[[str], None]
ShareDone = Callable[[int], None]
"""Told how many percent of the data are read."""


def quiet(_percent: int) -> None:
    """Nobody asks how far it is."""


MAX_FILES = 100_000


@dataclass(frozen=True)
class FoundSource:
    """A source and the objects that it names."""

    source: RowSource
    objects: tuple[ObjectInfo, ...]
    """In the order of their addresses."""

    @property
    def size(self) -> int:
        """Bytes of all objects."""
        return sum(info.size for info in self.objects)


def find_sources(store: Store, sources: Sequence[RowSource]) -> list[FoundSource]:
    """The objects of `sources`. Raises UserError naming a source without."""
    return [FoundSource(source, tuple(find_objects(store, source.uri))) for source in sources]


def fetch_sources(
    store: Store, found: Sequence[FoundSource], folder: Path, say: Say
) -> list[LocalSource]:
    """Download the objects of sources into `folder`."""
    return [_fetch(store, each, folder / str(index), say) for index, each in enumerate(found)]


def _fetch(store: Store, found: FoundSource, folder: Path, say: Say) -> LocalSource:
    folder.mkdir(parents=True)
    several = f" ({len(found.objects)} files)" if len(found.objects) > 1 else ""
    say(f"fetching {found.source.uri}{several}")
    downloads = [Download(info, folder / str(number)) for number, info in enumerate(found.objects)]
    store.download_files(downloads, TransferLog(say))
    return LocalSource(found.source, tuple(_file(each) for each in downloads))


def _file(download: Download) -> LocalFile:
    with download.path.open("rb") as file:
        sha256 = hashlib.file_digest(file, "sha256").hexdigest()
    return LocalFile(download.info.uri, download.path, sha256, download.info.size)


def find_objects(store: Store, uri: str) -> list[ObjectInfo]:
    """The objects that a source's address names, in the order of their addresses.

    An object, a folder with all that is below it, or a pattern: `*` stands for anything but a
    slash, `**` for folders too, `[ab]` for one of some characters. Names that begin with a dot or
    an underscore, and empty objects, are passed over in folders and by patterns, as what other
    programs leave beside their data.

    Raises UserError StorageNotFound where there is none.
    """
    if WILD.search(uri):
        matches = _pattern(uri).fullmatch
        found = [info for info in _visible(store, folder_of(uri)) if matches(info.uri)]
        nothing = "no object has a name of this pattern"
    else:
        single = store.stat(uri.rstrip("/")) if not uri.endswith("/") else None
        found = [single] if single else list(_visible(store, uri))
        nothing = "there is no object and no folder of this name"
    if not found:
        raise UserError(Reason.STORAGE_NOT_FOUND, nothing, where=uri)
    if len(found) > MAX_FILES:
        raise UserError(
            Reason.INVALID_DATA,
            f"names {len(found)} files, and {MAX_FILES} are read at most: join them",
            where=uri,
        )
    return found


def _visible(store: Store, folder: str) -> Iterator[ObjectInfo]:
    for info in store.list(folder):
        names = relative_to(info.uri, folder).split("/")
        if info.size and not any(name.startswith((".", "_")) for name in names):
            yield info


WILDCARDS = re.compile(r"(\*\*/|\*\*|\*|\[[^\]/]+\])")
_MEANINGS = {"**/": "(?:.*/)?", "**": ".*", "*": "[^/]*"}


def _pattern(uri: str) -> re.Pattern[str]:
    parts = WILDCARDS.split(uri)
    return re.compile("".join(_meaning(part) for part in parts), re.DOTALL)


def _meaning(part: str) -> str:
    if part in _MEANINGS:
        return _MEANINGS[part]
    if not WILDCARDS.fullmatch(part):
        return re.escape(part)
    negated = part.startswith("[!")
    return (
        f"[{'^' if negated else ''}{part[2 if negated else 1 : -1].replace(chr(92), chr(92) * 2)}]"
    )
