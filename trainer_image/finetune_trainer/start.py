"""What a job starts from: the model and perhaps the adapter behind `model.uri`.

job folder      manifest.json -> its result, an adapter or a model
adapter folder  adapter_config.json or origin.json -> the base
model folder    config.json
"""

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass
from enum import Enum

from finetune_api.errors import UserError
from finetune_api.layout import MANIFEST
from finetune_api.manifest import ORIGIN_FILE, Manifest, Origin, Parent
from finetune_api.reasons import Reason
from finetune_api.status import ParentRole, ParentStatus
from pydantic import ValidationError

from finetune_trainer.adapter_config import ADAPTER_CONFIG
from finetune_trainer.storage import Store
from finetune_trainer.storage.addresses import scheme_of

MAX_HOPS = 8
"""Addresses that are followed before the chain counts as broken."""
MAX_PARENTS = 32
"""Jobs of a chain that are remembered."""
_SCHEMES = ("s3://", "hf://", "file://")
_SMALL = 2**20
_MANIFEST_LIMIT = 16 * 2**20


@dataclass(frozen=True)
class Start:
    """Where the parts of a start model lie; addresses without a trailing slash."""

    model_uri: str
    adapter_uri: str | None = None
    """A LoRA adapter on that model."""
    base_digest: str | None = None
    """What origin.json says that the model's digest is; see `StartRecord.base_digest`."""
    parents: tuple[Parent, ...] = ()
    """Published jobs on the way, the nearest first; at most `MAX_PARENTS`."""


class _Kind(Enum):
    JOB = MANIFEST
    ADAPTER = ADAPTER_CONFIG
    MODEL = "config.json"


def resolve_start(store: Store, uri: str) -> Start:
    """Follow `uri` to a model and, on the way, at most one adapter.

    Raises UserError ModelInvalid where the chain does not end in a model, StorageNotFound where
    nothing lies, and the store's errors.
    """
    place, seen = uri.rstrip("/"), list[str]()
    adapter_uri: str | None = None
    base_digest: str | None = None
    parents: list[Parent] = []
    while True:
        _check_hop(place, seen)
        seen.append(place)
        match _kind_of(store, place):
            case _Kind.MODEL:
                return Start(place, adapter_uri, base_digest, tuple(parents[:MAX_PARENTS]))
            case _Kind.JOB:
                manifest, parent = _read_manifest(store, place)
                parents += [parent, *manifest.parents]
                place = manifest.result_uri.rstrip("/")
            case _Kind.ADAPTER:
                if adapter_uri is not None:
                    raise _invalid(
                        f"is an adapter, and the base of the adapter {adapter_uri}; merge it into "
                        "its own base first",
                        place,
                    )
                adapter_uri = place
                place, base_digest = _base_of(store, place)


def check_pinned(start: Start, parents: Sequence[ParentStatus], role: ParentRole) -> None:
    """Raise UserError ModelInvalid when `start` is not what the parent in `role` had published when
    it was pinned."""
    pin = next((parent for parent in parents if parent.role is role), None)
    if pin is None:
        return
    if not start.parents or start.parents[0].manifest_sha256 != pin.manifest_sha256:
        raise _invalid(
            f"is not what job {pin.name} had published when this job chose it; put the run's "
            "manifest.json back, or delete this job and apply it again",
            pin.uri,
        )


def _check_hop(place: str, seen: list[str]) -> None:
    if place in seen or len(seen) == MAX_HOPS:
        raise _invalid(
            "leads back to itself" if place in seen else f"follows more than {MAX_HOPS} addresses",
            seen[0],
        )
    # What a file in a bucket says must not make a pod read its own disk.
    if seen and scheme_of(place) == "file" and scheme_of(seen[0]) != "file":
        raise _invalid(f"leads to {place}, which is no address in a store", seen[0])


def _kind_of(store: Store, place: str) -> _Kind:
    for kind in (_Kind.ADAPTER, _Kind.MODEL, _Kind.JOB):
        if store.stat(f"{place}/{kind.value}") is not None:
            return kind
    if next(iter(store.list(place)), None) is None:
        raise UserError(
            Reason.STORAGE_NOT_FOUND,
            "the model's folder holds nothing or does not exist; check "
            + ("the path" if scheme_of(place) == "file" else "bucket and key"),
            where=place,
        )
    raise _invalid(
        f"the folder has no config.json (a model), no {ADAPTER_CONFIG} (an adapter) and no "
        f"{MANIFEST} (a published job)",
        place,
    )


def _read_manifest(store: Store, place: str) -> tuple[Manifest, Parent]:
    text = store.read(f"{place}/{MANIFEST}", _MANIFEST_LIMIT)
    try:
        manifest = Manifest.read_wire(json.loads(text))
    except (ValueError, ValidationError, RecursionError) as error:
        raise _invalid("is no manifest of a published job", f"{place}/{MANIFEST}") from error
    parent = Parent(
        uri=place,
        job_uid=manifest.job_uid,
        manifest_sha256=hashlib.sha256(text).hexdigest(),
        recipe_hash=manifest.recipe_hash,
    )
    return manifest, parent


def _base_of(store: Store, place: str) -> tuple[str, str | None]:
    """(address of the base of the adapter at `place`, digest that it must have)."""
    try:
        config = json.loads(store.read(f"{place}/{ADAPTER_CONFIG}", _SMALL))
        name = str(config.get("base_model_name_or_path") or "")
    except (ValueError, AttributeError, RecursionError) as error:
        raise _invalid("is not a JSON object", f"{place}/{ADAPTER_CONFIG}") from error
    origin = _read_origin(store, place)
    if name.startswith(_SCHEMES):
        same = origin is not None and origin.base_uri.rstrip("/") == name.rstrip("/")
        return name.rstrip("/"), origin.base_digest if origin is not None and same else None
    if origin is not None:
        return origin.base_uri.rstrip("/"), origin.base_digest
    raise _invalid(
        f"the adapter does not say where its base lies (base_model_name_or_path is {name[:128]!r}, "
        f"and there is no {ORIGIN_FILE}): give the folder of the job that made it, or write the "
        f"base's address into {ADAPTER_CONFIG}",
        place,
    )


def _read_origin(store: Store, place: str) -> Origin | None:
    uri = f"{place}/{ORIGIN_FILE}"
    if store.stat(uri) is None:
        return None
    try:
        return Origin.read_wire(json.loads(store.read(uri, _SMALL)))
    except (ValueError, ValidationError, RecursionError) as error:
        raise _invalid("is no record of an adapter's base", uri) from error


def _invalid(message: str, where: str) -> UserError:
    return UserError(Reason.MODEL_INVALID, message, where=where)
