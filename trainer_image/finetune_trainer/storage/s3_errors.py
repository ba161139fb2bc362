"""The one place where errors of S3 and boto3 become errors of ours.

The store's own error text is not shown, since some stores repeat keys in it; its code is.
"""

from collections.abc import Iterator
from contextlib import contextmanager

from botocore import exceptions as boto
from finetune_api.errors import FineTuneError, InfrastructureError, UserError
from finetune_api.reasons import Reason
from s3transfer.exceptions import RetriesExceededError

from finetune_trainer.storage.addresses import split_s3
from finetune_trainer.storage.store import PreconditionFailed

_NO_BUCKET = {"NoSuchBucket", "InvalidBucketName"}
_CONFLICT = {"PreconditionFailed", "ConditionalRequestConflict", "412", "409"}
_WRONG_REGION = {"PermanentRedirect", "AuthorizationHeaderMalformed", "301", "TemporaryRedirect"}
_DENIED = {"InvalidAccessKeyId", "SignatureDoesNotMatch", "AccessDenied", "InvalidToken"}
_DENIED |= {"ExpiredToken", "TokenRefreshRequired", "AllAccessDisabled", "AccountProblem"}
_DENIED |= {"XAdminUserNotFound"}  # what versitygw says of an unknown access key, with 404


@contextmanager
def s3_errors(uri: str) -> Iterator[None]:
    """Raise errors of ours, or PreconditionFailed, for whatever boto3 raises inside."""
    try:
        yield
    except RetriesExceededError as error:
        raise _unavailable(uri, str(error.last_exception)) from error
    except boto.ClientError as error:
        raise _of_response(error, uri) from error
    except (boto.BotoCoreError, boto.HTTPClientError) as error:
        raise _of_client(error, uri) from error


def is_missing_key(error: boto.ClientError) -> bool:
    """Whether the answer is that there is no such key (or bucket: HEAD does not tell)."""
    return code_of(error) in {"404", "NoSuchKey", "NotFound"}


def code_of(error: boto.ClientError) -> str:
    """The store's word for the error, or the HTTP status of an answer without a body."""
    return str(error.response.get("Error", {}).get("Code", ""))


def missing(uri: str) -> UserError:
    """The error for a key that is not there."""
    bucket, _ = split_s3(uri)
    return UserError(
        Reason.STORAGE_NOT_FOUND,
        f"no such object in bucket {bucket}; check bucket and key",
        where=uri,
    )


def missing_bucket(uri: str) -> UserError:
    """The error for a bucket that is not there."""
    bucket, _ = split_s3(uri)
    return UserError(
        Reason.STORAGE_NOT_FOUND,
        f"no bucket is named {bucket}; check the address and storage.endpoint",
        where=uri,
    )


def _of_response(error: boto.ClientError, uri: str) -> Exception:
    code = code_of(error)
    status = error.response.get("ResponseMetadata", {}).get("HTTPStatusCode", 0)
    if code in _CONFLICT or status == 412:
        return PreconditionFailed(uri)
    if code in _NO_BUCKET:
        return missing_bucket(uri)
    if code in _WRONG_REGION or status in {301, 307}:
        return UserError(
            Reason.INVALID_SPEC,
            f"the store says {code}: check storage.region and storage.addressing",
            where=uri,
        )
    if code in _DENIED or status in {401, 403}:
        return UserError(
            Reason.STORAGE_DENIED,
            f"the store refuses the keys or the action ({code}); check the keys in "
            "storage.credentialsSecretName and what they may list, read and write",
            where=uri,
        )
    if is_missing_key(error) or status == 404:
        return missing(uri)
    if code in {"NotImplemented", "501"}:
        return UserError(
            Reason.INVALID_SPEC,
            "the store does not support what is needed (conditional writes); use another store",
            where=uri,
        )
    return _unavailable(uri, code or str(status))


def _of_client(error: Exception, uri: str) -> FineTuneError:
    if isinstance(
        error,
        boto.NoCredentialsError
        | boto.PartialCredentialsError
        | boto.CredentialRetrievalError
        | boto.TokenRetrievalError,
    ):
        return UserError(
            Reason.CREDENTIALS_MISSING,
            "no usable S3 credentials; set storage.credentialsSecretName to a Secret with "
            "AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or give the pods a workload identity",
            where=uri,
        )
    if isinstance(error, boto.ParamValidationError):
        return missing_bucket(uri)
    if isinstance(error, boto.NoRegionError | boto.InvalidRegionError):
        return UserError(Reason.INVALID_SPEC, "set storage.region", where=uri)
    if isinstance(error, boto.SSLError):
        return InfrastructureError(
            Reason.STORAGE_UNAVAILABLE,
            "the store's certificate is not trusted; check storage.endpoint",
            where=uri,
        )
    endpoint = getattr(error, "kwargs", {}).get("endpoint_url")
    at = f" at {endpoint}" if endpoint else ""
    return _unavailable(uri, type(error).__name__ + at)


def _unavailable(uri: str, cause: str) -> InfrastructureError:
    return InfrastructureError(
        Reason.STORAGE_UNAVAILABLE,
        f"the store does not answer as it should ({cause}); check storage.endpoint and that "
        "pods reach it",
        where=uri,
    )
