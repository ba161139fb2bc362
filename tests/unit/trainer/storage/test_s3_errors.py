"""Each way in which a store fails becomes the reason that says who must act."""

from typing import TYPE_CHECKING, Any

import pytest
from botocore import exceptions as boto
from finetune_api.errors import FineTuneError, InfrastructureError, UserError
from finetune_api.reasons import Reason
from finetune_api.spec import Storage
from finetune_trainer.storage import PreconditionFailed, open_store
from finetune_trainer.storage.s3_errors import s3_errors

if TYPE_CHECKING:
    from tests.unit.trainer.storage.conftest import S3Server

URI = "s3://bucket/key"


def answer(code: str, status: int) -> boto.ClientError:
    response: Any = {
        "Error": {"Code": code, "Message": "the key is AKIASECRET"},
        "ResponseMetadata": {"HTTPStatusCode": status},
    }
    return boto.ClientError(response, "GetObject")


@pytest.mark.parametrize(
    ("error", "kind", "reason", "said"),
    [
        (answer("NoSuchBucket", 404), UserError, Reason.STORAGE_NOT_FOUND, "named bucket"),
        (answer("NoSuchKey", 404), UserError, Reason.STORAGE_NOT_FOUND, "check"),
        (answer("403", 403), UserError, Reason.STORAGE_DENIED, "credentialsSecretName"),
        (answer("XAdminUserNotFound", 404), UserError, Reason.STORAGE_DENIED, "keys"),
        (answer("InvalidAccessKeyId", 403), UserError, Reason.STORAGE_DENIED, "keys"),
        (answer("SignatureDoesNotMatch", 403), UserError, Reason.STORAGE_DENIED, "keys"),
        (answer("401", 401), UserError, Reason.STORAGE_DENIED, "keys"),
        (answer("ExpiredToken", 400), UserError, Reason.STORAGE_DENIED, "ExpiredToken"),
        (answer("PermanentRedirect", 301), UserError, Reason.INVALID_SPEC, "storage.region"),
        (answer("NotImplemented", 501), UserError, Reason.INVALID_SPEC, "conditional"),
        (answer("SlowDown", 503), InfrastructureError, Reason.STORAGE_UNAVAILABLE, "SlowDown"),
        (answer("500", 500), InfrastructureError, Reason.STORAGE_UNAVAILABLE, "500"),
        (boto.NoCredentialsError(), UserError, Reason.CREDENTIALS_MISSING, "Secret"),
        (
            boto.PartialCredentialsError(provider="env", cred_var="x"),
            UserError,
            Reason.CREDENTIALS_MISSING,
            "Secret",
        ),
        (
            boto.EndpointConnectionError(endpoint_url="http://x"),
            InfrastructureError,
            Reason.STORAGE_UNAVAILABLE,
            "storage.endpoint",
        ),
        (
            boto.ReadTimeoutError(endpoint_url="http://x"),
            InfrastructureError,
            Reason.STORAGE_UNAVAILABLE,
            "ReadTimeoutError at http://x",
        ),
        (
            boto.SSLError(endpoint_url="https://x", error=Exception("bad")),
            InfrastructureError,
            Reason.STORAGE_UNAVAILABLE,
            "certificate",
        ),
    ],
)
def test_a_failure_gets_the_reason_of_who_can_mend_it(
    error: Exception, kind: type[FineTuneError], reason: Reason, said: str
) -> None:
    with pytest.raises(kind) as caught, s3_errors(URI):
        raise error

    assert caught.value.reason is reason
    assert caught.value.where == URI
    assert said in caught.value.message
    assert "AKIASECRET" not in str(caught.value)


@pytest.mark.parametrize(("code", "status"), [("PreconditionFailed", 412), ("409", 409)])
def test_a_conflict_is_a_failed_precondition(code: str, status: int) -> None:
    with pytest.raises(PreconditionFailed), s3_errors(URI):
        raise answer(code, status)


@pytest.mark.usefixtures("keys")
def test_a_missing_bucket_is_told_from_a_missing_key(s3_server: "S3Server", bucket: str) -> None:
    store = open_store(s3_server.storage(), allow_loopback=True)

    assert store.stat(f"s3://{bucket}/key") is None
    with pytest.raises(UserError, match="no bucket is named missing-bucket"):
        store.stat("s3://missing-bucket/key")
    with pytest.raises(UserError, match="no bucket is named missing-bucket"):
        store.write("s3://missing-bucket/key", b"")


@pytest.mark.usefixtures("keys")
def test_a_wrong_secret_is_denied(
    s3_server: "S3Server", bucket: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "wrong")

    with pytest.raises(UserError) as caught:
        open_store(s3_server.storage(), allow_loopback=True).read(f"s3://{bucket}/key")

    assert caught.value.reason is Reason.STORAGE_DENIED


def test_no_credentials_are_named_as_missing(
    s3_server: "S3Server", monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_PROFILE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", "/nonexistent")
    monkeypatch.setenv("AWS_CONFIG_FILE", "/nonexistent")

    with pytest.raises(UserError) as caught:
        open_store(s3_server.storage(), allow_loopback=True).read(URI)

    assert caught.value.reason is Reason.CREDENTIALS_MISSING


@pytest.mark.usefixtures("keys")
def test_a_port_where_nobody_listens_is_unavailable(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("finetune_trainer.storage.s3.ATTEMPTS", 1)
    store = open_store(Storage(endpoint="http://127.0.0.1:9"), allow_loopback=True)

    with pytest.raises(InfrastructureError) as caught:
        store.stat(URI)

    assert caught.value.reason is Reason.STORAGE_UNAVAILABLE
    assert "check storage.endpoint" in caught.value.message
