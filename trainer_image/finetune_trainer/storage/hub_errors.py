"""The one place where errors of huggingface_hub become errors of ours.

Its own texts go on for lines; what is told here is what to do.
"""

from collections.abc import Iterator
from contextlib import contextmanager

import httpx2
from finetune_api.errors import FineTuneError, InfrastructureError, UserError
from finetune_api.reasons import Reason
from huggingface_hub import get_token
from huggingface_hub.errors import (
    GatedRepoError,
    HfHubHTTPError,
    HFValidationError,
    RemoteEntryNotFoundError,
    RepositoryNotFoundError,
    RevisionNotFoundError,
)

from finetune_trainer.storage.addresses import split_hub

_TOKEN = "HF_TOKEN in the Secret that storage.credentialsSecretName names"
_TRANSIENT = {408, 429}


@contextmanager
def hub_errors(uri: str) -> Iterator[None]:
    """Raise errors of ours for whatever huggingface_hub and its connections raise inside."""
    try:
        yield
    except HfHubHTTPError as error:
        raise _of_answer(error, uri) from error
    except HFValidationError as error:
        raise UserError(
            Reason.INVALID_SPEC, "is no address of the form hf://ORG/NAME@REVISION", where=uri
        ) from error
    except httpx2.HTTPError as error:
        raise _unreachable(uri, type(error).__name__) from error


def missing(uri: str) -> UserError:
    """The error for a file that is not in its repository."""
    address = split_hub(uri)
    return UserError(
        Reason.STORAGE_NOT_FOUND,
        f"{address.repository} has no such file at {address.revision}",
        where=uri,
    )


def _of_answer(error: HfHubHTTPError, uri: str) -> FineTuneError:
    address = split_hub(uri)
    if isinstance(error, GatedRepoError):
        return _gated(uri)
    if isinstance(error, RepositoryNotFoundError):
        hint = "" if get_token() else f"; if it is private, put a token as {_TOKEN}"
        return UserError(
            Reason.STORAGE_NOT_FOUND,
            f"the hub shows no repository {address.repository}; check its name{hint}",
            where=uri,
        )
    if isinstance(error, RevisionNotFoundError):
        return UserError(
            Reason.STORAGE_NOT_FOUND,
            f"{address.repository} has no commit, tag or branch {address.revision}; "
            "write one that it has after the @",
            where=uri,
        )
    if isinstance(error, RemoteEntryNotFoundError):
        return missing(uri)
    status = error.response.status_code
    if status in {401, 403}:
        return UserError(
            Reason.STORAGE_DENIED, f"the hub refuses the token; check {_TOKEN}", where=uri
        )
    if status in _TRANSIENT or status >= 500:
        return _unreachable(uri, str(status))
    return UserError(
        Reason.STORAGE_NOT_FOUND, f"the hub refuses the address with {status}", where=uri
    )


def _gated(uri: str) -> UserError:
    repository = split_hub(uri).repository
    if get_token() is None:
        return UserError(
            Reason.CREDENTIALS_MISSING,
            f"{repository} is shown to those who accepted its terms: accept them on the hub and "
            f"put that account's token as {_TOKEN}",
            where=uri,
        )
    return UserError(
        Reason.STORAGE_DENIED,
        f"the token's account has no access to {repository}: accept its terms on the hub, or "
        f"use another account's token as {_TOKEN}",
        where=uri,
    )


def _unreachable(uri: str, cause: str) -> InfrastructureError:
    return InfrastructureError(
        Reason.STORAGE_UNAVAILABLE,
        f"the hub does not answer as it should ({cause}); check that pods reach it, or name a "
        "mirror as HF_ENDPOINT in podTemplate.env",
        where=uri,
    )
