"""Taking addresses apart."""

import re
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import unquote, urlsplit

from finetune_api.errors import UserError
from finetune_api.reasons import Reason

_HUB = re.compile(r"hf://([^/@]+/[^/@]+)(?:@([^/@]+))?/?(.*)")


def scheme_of(uri: str) -> str:
    """`s3`, `file` or whatever stands before `://`."""
    return uri.partition("://")[0]


def split_s3(uri: str) -> tuple[str, str]:
    """(bucket, key) of an `s3://` address, without slashes around the key."""
    bucket, _, key = uri.removeprefix("s3://").partition("/")
    if not uri.startswith("s3://") or not bucket:
        raise UserError(Reason.INVALID_SPEC, "is no address of the form s3://BUCKET/KEY", where=uri)
    return bucket, key.strip("/")


@dataclass(frozen=True)
class HubAddress:
    """`hf://ORG/NAME[@REVISION][/PATH]`, taken apart."""

    repository: str
    """ORG/NAME."""
    revision: str
    """Commit, tag or branch."""
    path: str
    """File in the repository; empty for all of it."""


def split_hub(uri: str) -> HubAddress:
    """The parts of an `hf://` address; without a revision it means the branch main."""
    match = _HUB.fullmatch(uri)
    if match is None:
        raise UserError(
            Reason.INVALID_SPEC, "is no address of the form hf://ORG/NAME@REVISION", where=uri
        )
    return HubAddress(match[1], match[2] or "main", match[3] or "")


def file_path(uri: str) -> Path:
    """The absolute path of a `file://` address."""
    parts = urlsplit(uri)
    if parts.scheme != "file" or parts.netloc not in ("", "localhost") or not parts.path:
        raise UserError(
            Reason.INVALID_SPEC, "is no address of the form file:///ABSOLUTE/PATH", where=uri
        )
    return Path(unquote(parts.path))


def relative_to(uri: str, folder_uri: str) -> str:
    """The part of `uri` below `folder_uri`, without a leading slash."""
    return uri.removeprefix(folder_uri.rstrip("/") + "/")


def checked_target(folder: Path, relative: str) -> Path:
    """The path of `relative` below `folder`; a name that leads out of it is refused."""
    target = (folder / relative).resolve()
    if not target.is_relative_to(folder.resolve()):
        raise UserError(
            Reason.INVALID_SPEC, "an object's name must not lead out of its folder", where=relative
        )
    return target
