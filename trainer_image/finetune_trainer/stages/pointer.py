"""manifest.json, the pointer to what is published: written last, conditionally."""

import hashlib
from contextlib import suppress
from dataclasses import dataclass

from finetune_api.errors import InfrastructureError, UserError
from finetune_api.layout import MANIFEST
from finetune_api.manifest import Manifest
from finetune_api.reasons import Reason
from finetune_api.spec import OnExisting
from pydantic import ValidationError

from finetune_trainer.storage import PreconditionFailed, Store

_TRIES = 5
_LIMIT = 16 * 2**20


@dataclass(frozen=True)
class Pointer:
    """A manifest as it lies in the store."""

    manifest: Manifest | None
    """None when what lies there is no manifest of this version."""
    etag: str
    text: bytes
    """What lies there, to the byte."""

    @property
    def sha256(self) -> str:
        """Digest of the text, in hexadecimal."""
        return hashlib.sha256(self.text).hexdigest()

    def is_of(self, hashes: tuple[str, str]) -> bool:
        """Whether the same recipe on the same data is published."""
        found = self.manifest
        return found is not None and (found.recipe_hash, found.data_hash) == hashes

    def serves(self, hashes: tuple[str, str], *, merged: bool) -> bool:
        """Whether it is all that a job of these hashes asks for, a merged model if it wants one."""
        has_merged = self.manifest is not None and self.manifest.merged_uri is not None
        return self.is_of(hashes) and (has_merged or not merged)


def read_pointer(store: Store, uri: str) -> Pointer | None:
    """What is published at `uri`, if anything."""
    if store.stat(uri) is None:
        return None
    text, etag = store.read_with_etag(uri, _LIMIT)
    try:
        manifest = Manifest.model_validate_json(text)
    except ValidationError:
        manifest = None
    return Pointer(manifest, etag, text)


def check_free(
    seen: Pointer | None, uri: str, on_existing: OnExisting, hashes: tuple[str, str]
) -> None:
    """Raise UserError OUTPUT_TAKEN when another result than one of `hashes` lies at `uri` and may
    not be replaced."""
    if seen is not None and not seen.is_of(hashes) and on_existing is OnExisting.REFUSE:
        raise UserError(
            Reason.OUTPUT_TAKEN,
            "another recipe or other data is published here: choose another name or output.uri, "
            "or set output.onExisting to Replace",
            where=uri,
        )


def publish_pointer(
    store: Store, uri: str, manifest: Manifest, seen: Pointer | None, on_existing: OnExisting
) -> Pointer:
    """Move the pointer to `manifest`, unless someone moved it since `seen` was read.

    A copy goes into the run's folder first: jobs that start from the result read that one, which
    nobody replaces. Of a result of the same recipe on the same data the one that was there first
    stays. Returns what lies there in the end. Raises UserError OUTPUT_TAKEN.
    """
    text = manifest.model_dump_json(by_alias=True, exclude_none=True, indent=1).encode()
    store.write(f"{manifest.run_uri}/{MANIFEST}", text)
    hashes = (manifest.recipe_hash, manifest.data_hash)
    for _ in range(_TRIES):
        try:
            etag = store.write(
                uri, text, if_match=seen.etag if seen else None, if_absent=seen is None
            )
        except PreconditionFailed:
            seen = read_pointer(store, uri)
            if seen is not None and seen.serves(hashes, merged=manifest.merged_uri is not None):
                keep_copy(store, seen)
                return seen
            check_free(seen, uri, on_existing, hashes)
        else:
            return Pointer(manifest, etag, text)
    raise InfrastructureError(
        Reason.STORAGE_UNAVAILABLE, "others keep moving the pointer; try again later", where=uri
    )


def keep_copy(store: Store, adopted: Pointer) -> None:
    """Write the copy in the run's folder that `publish_pointer` writes, where it is missing: an
    older version published without it. Who may not write there adopts the result all the same."""
    assert adopted.manifest is not None
    with suppress(PreconditionFailed, UserError):
        store.write(f"{adopted.manifest.run_uri}/{MANIFEST}", adopted.text, if_absent=True)
