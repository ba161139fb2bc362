"""Addresses of models, rows and results."""

from typing import Annotated, Protocol

from pydantic import Field

from finetune_api.fields import Rule

Uri = Annotated[
    str,
    Field(
        min_length=6,
        max_length=1024,
        pattern=r"^(s3://[^\s?#/][^\s?#]*|file:///[^\s?#]*[^\s?#/][^\s?#]*)$",
    ),
]
"""`s3://BUCKET/KEY`, or `file:///PATH` in local runs."""

ModelUri = Annotated[
    str,
    Field(
        min_length=6,
        max_length=1024,
        pattern=r"^(s3://[^\s?#/][^\s?#]*|file:///[^\s?#]*[^\s?#/][^\s?#]*"
        r"|hf://[0-9A-Za-z][-._0-9A-Za-z]*/[0-9A-Za-z][-._0-9A-Za-z]*(@[0-9A-Za-z][-._0-9A-Za-z]*)?)$",
    ),
]
"""The same, or `hf://ORG/NAME@REVISION` on the Hugging Face Hub; without @REVISION it is main."""

HUB_SCHEME = "hf://"


def hub_name(uri: str) -> str | None:
    """ORG/NAME of an address on the Hugging Face Hub; None of any other."""
    if not uri.startswith(HUB_SCHEME):
        return None
    return uri.removeprefix(HUB_SCHEME).partition("@")[0]


class _HasUri(Protocol):
    uri: str


class _MayHaveUri(Protocol):
    uri: str | None


_FILE = "file://"
_LOCAL_ONLY = "file:// works only in local runs (`finetune run`); on a cluster write "


def _uri_is_s3(model: _HasUri) -> bool:
    return not model.uri.startswith(_FILE)


URI_IS_S3 = Rule(f"!self.uri.startsWith('{_FILE}')", f"{_LOCAL_ONLY}s3://BUCKET/KEY", _uri_is_s3)


def _uri_is_remote(model: _MayHaveUri) -> bool:
    return model.uri is None or not model.uri.startswith(_FILE)


URI_IS_REMOTE = Rule(
    f"!has(self.uri) || !self.uri.startsWith('{_FILE}')",
    f"{_LOCAL_ONLY}s3://BUCKET/KEY or hf://ORG/NAME@REVISION",
    _uri_is_remote,
)
