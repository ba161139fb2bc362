"""The files of a start model: which count, what their content is, and the record that lets the
trainer tell that they are still those which the preparation checked."""

import hashlib
from collections.abc import Mapping
from functools import lru_cache

from finetune_api.errors import UserError
from finetune_api.fields import ApiModel
from finetune_api.hashing import canonical_digest
from finetune_api.manifest import Parent
from finetune_api.reasons import Reason
from finetune_api.status import Digest
from pydantic import Field, ValidationError

from finetune_trainer.adapter_config import ADAPTER_CONFIG, ADAPTER_WEIGHTS
from finetune_trainer.handover import HANDED_OVER, matches
from finetune_trainer.start import Start, resolve_start
from finetune_trainer.storage import ObjectInfo, Store
from finetune_trainer.storage.addresses import file_path, relative_to, scheme_of

WEIGHT_FILES = ("config.json", "*.safetensors", "*.safetensors.index.json")
REWARD_FILE = "reward.json"
"""What a reward model's numbers mean, beside it."""
MODEL_FILES = (*WEIGHT_FILES, REWARD_FILE, *HANDED_OVER)
ADAPTER_FILES = (ADAPTER_CONFIG, ADAPTER_WEIGHTS, REWARD_FILE, *HANDED_OVER)

Files = Mapping[str, ObjectInfo]
"""Objects of a folder by their name in it."""


class StartRecord(ApiModel):
    """start.json: what a preparation found behind `model.uri`."""

    recipe_hash: Digest
    """Recipe that it was prepared for."""
    model_uri: str
    model_files: dict[str, str]
    """Name -> etag of every file that counts."""
    adapter_uri: str | None = None
    adapter_files: dict[str, str] = Field(default_factory=dict)
    base_digest: Digest
    """Digest of the model's configuration and weights."""
    parents: list[Parent] = Field(default_factory=list)
    reward_model: "StartRecord | None" = None
    """The same of the reward model, where the job has one."""

    @classmethod
    def of(cls, start: Start, recipe_hash: str, model: Files, adapter: Files) -> "StartRecord":
        """The record of folders as they are now."""
        return cls(
            recipe_hash=recipe_hash,
            model_uri=start.model_uri,
            model_files={name: info.etag for name, info in model.items()},
            adapter_uri=start.adapter_uri,
            adapter_files={name: info.etag for name, info in adapter.items()},
            base_digest=weights_digest(model),
            parents=list(start.parents),
        )


def find_record(
    store: Store,
    uri: str,
    recipe_hash: str,
    model_uri: str,
    digest: str | None = None,
    reward_uri: str | None = None,
) -> StartRecord:
    """What the preparation of this recipe recorded at `uri`; where none did, what lies behind
    `model_uri` and `reward_uri` now.

    Raises UserError ModelInvalid when the record is of another recipe (the job was prepared
    again since, and found something else), or when what lies there now has not `digest`.
    """
    if store.stat(uri) is not None:
        try:
            record = StartRecord.model_validate_json(store.read(uri))
        except ValidationError as error:
            raise changed(uri) from error
        if record.recipe_hash != recipe_hash:
            raise changed(uri)
        return record
    record = _look(store, recipe_hash, model_uri, digest)
    if reward_uri is None:
        return record
    reward = _look(store, recipe_hash, reward_uri, None)
    return record.model_copy(update={"reward_model": reward})


def _look(store: Store, recipe_hash: str, model_uri: str, digest: str | None) -> StartRecord:
    start = resolve_start(store, model_uri)
    model = chosen(list_folder(store, start.model_uri), MODEL_FILES)
    adapter: Files = {}
    if start.adapter_uri is not None:
        adapter = chosen(list_folder(store, start.adapter_uri), ADAPTER_FILES)
    if digest not in (None, start_digest(model, adapter)):
        raise changed(model_uri)
    return StartRecord.of(start, recipe_hash, model, adapter)


def list_folder(store: Store, uri: str) -> dict[str, ObjectInfo]:
    """All objects in the folder `uri`, by their names in it."""
    return {relative_to(info.uri, uri): info for info in store.list(uri)}


def chosen(files: Files, patterns: tuple[str, ...]) -> Files:
    """Those of `files` whose names fit."""
    return {name: info for name, info in files.items() if matches(name, patterns)}


def checked_files(store: Store, uri: str, recorded: Mapping[str, str]) -> list[ObjectInfo]:
    """The objects that were recorded for the folder `uri`.

    Raises UserError ModelInvalid when one is gone or was written anew since.
    """
    listed = list_folder(store, uri)
    for name, etag in recorded.items():
        if name not in listed or listed[name].etag != etag:
            raise changed(f"{uri}/{name}")
    return [listed[name] for name in sorted(recorded)]


def changed(where: str) -> UserError:
    """The error for a start model that is not the one which was checked."""
    return UserError(
        Reason.MODEL_INVALID,
        "changed since the job was prepared; put it back, or apply the job under a new name",
        where=where,
    )


def folder_digest(files: Files) -> str:
    """Digest of a folder: over the sorted (name, size, identity) of its files that count.

    Identity is the SHA-256 of the content for file://, and the ETag for s3://, since weights are
    too big to be read here. The ETag of an object uploaded in parts depends on their size, so a
    copy of a model may count as another model; it never happens the other way round.
    """
    return canonical_digest(
        [[name, info.size, _identity(info)] for name, info in sorted(files.items())]
    )


def weights_digest(model: Files) -> str:
    """Digest of a model's configuration and weights alone, as `folder_digest`."""
    return folder_digest(chosen(model, WEIGHT_FILES))


def start_digest(model: Files, adapter: Files) -> str:
    """Digest of all that training starts from."""
    if not adapter:
        return folder_digest(model)
    return canonical_digest({"model": folder_digest(model), "adapter": folder_digest(adapter)})


@lru_cache(maxsize=4096)
def _identity(info: ObjectInfo) -> str:
    if scheme_of(info.uri) != "file":
        return info.etag
    with file_path(info.uri).open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
