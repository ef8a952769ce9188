"""Which errors of S3 may pass, and what users read of them."""

from __future__ import annotations

import logging
from collections.abc import Callable
from types import SimpleNamespace

import pytest
from boto3.exceptions import RetriesExceededError, S3UploadFailedError
from botocore.exceptions import (
    ClientError,
    ConnectTimeoutError,
    CredentialRetrievalError,
    EndpointConnectionError,
    FlexibleChecksumError,
    IncompleteReadError,
    NoCredentialsError,
    ReadTimeoutError,
    ResponseStreamingError,
    SSLError,
)
from botocore.parsers import ResponseParserError

from lidr.components.shared.core import retry
from lidr.components.shared.core.errors import DamagedObject, StoreError, StoreUnavailable
from lidr.components.shared.store import s3
from lidr.components.shared.store.s3 import S3Store
from lidr.components.shared.store.s3_errors import BUSY_CODES, explain, is_transient

URL = "http://s3:8333"
WHO = f"the object store at {URL}"


def answer(code: str, status: int, operation: str = "PutObject") -> ClientError:
    told = {"Error": {"Code": code}, "ResponseMetadata": {"HTTPStatusCode": status}}
    return ClientError(told, operation)


def explained(error: Exception) -> StoreError | None:
    return explain(error, WHO, "s3://bucket/store", "a/b")


PASSING = {
    ("InternalError", 500),
    ("InternalServerError", 500),
    ("500", 500),
    ("BadGateway", 502),
    ("ServiceUnavailable", 503),
    ("SlowDown", 503),
    ("503", 503),
    ("GatewayTimeout", 504),
    ("XMinioStorageFull", 507),
    ("TooManyRequests", 429),
    ("429", 429),
    ("SlowDownWrite", 429),
    ("ThrottlingException", 400),
    ("RequestTimeout", 400),
    ("IncompleteBody", 400),
    ("OperationAborted", 409),
    ("ConditionalRequestConflict", 409),
    ("PreconditionFailed", 412),
    ("NoSuchUpload", 404),
}
LASTING = {
    ("AccessDenied", 403),
    ("403", 403),
    ("InvalidAccessKeyId", 403),
    ("SignatureDoesNotMatch", 403),
    ("ExpiredToken", 400),
    ("RequestTimeTooSkewed", 403),
    ("NoSuchBucket", 404),
    ("EntityTooLarge", 400),
    ("InvalidArgument", 400),
    ("MissingContentLength", 411),
    ("NotImplemented", 501),
    ("MethodNotAllowed", 405),
    ("QuotaExceeded", 403),
}


@pytest.mark.parametrize(("code", "status"), sorted(PASSING))
def test_s3_errors_that_may_pass_are_returned_with_their_remedy(code, status):
    assert is_transient(code, status)
    found = explained(answer(code, status))
    assert found is not None
    assert WHO in str(found)
    assert code in str(found)
    fewer = code in BUSY_CODES or status == 429
    remedy = "Run fewer workers at a time" if fewer else "Look at its log, its load and its free"
    assert remedy in str(found)
    assert "credentials" not in str(found)


@pytest.mark.parametrize(("code", "status"), sorted(LASTING))
def test_s3_errors_that_last_are_raised_at_once(code, status):
    assert not is_transient(code, status)
    with pytest.raises(StoreError, match=f"S3 refused a/b at s3://bucket/store: {code}"):
        explained(answer(code, status))


@pytest.mark.parametrize(
    ("code", "status", "remedy"),
    [
        ("AccessDenied", 403, "Check the bucket's name, the credentials and the bucket's policy."),
        ("RequestTimeTooSkewed", 403, "Set the clock"),
        ("ExpiredToken", 400, "log in again, or renew the Secret"),
        ("ExpiredTokenException", 400, "log in again, or renew the Secret"),
        ("TokenRefreshRequired", 400, "log in again, or renew the Secret"),
        ("NoSuchBucket", 404, "Check the bucket's name, and that the store has started"),
        ("MissingContentLength", 411, "AWS_REQUEST_CHECKSUM_CALCULATION=when_required"),
    ],
)
def test_s3_errors_that_last_name_what_mends_them(code, status, remedy):
    with pytest.raises(StoreError, match=remedy):
        explained(answer(code, status))


def test_s3_errors_of_a_server_in_trouble_do_not_blame_the_user():
    assert str(explained(answer("InternalError", 500))) == (
        f"{WHO} answers InternalError (HTTP 500) for s3://bucket/store/a/b: it cannot serve "
        "requests now. Look at its log, its load and its free disk, then run the same command "
        "again."
    )
    assert "answers 503 for s3://bucket/store/a/b:" in str(explained(answer("503", 503)))


def test_s3_errors_about_credentials_name_the_operation_of_sts():
    operation = "AssumeRoleWithWebIdentity"
    with pytest.raises(StoreError, match=f"STS refused {operation}: AccessDenied.*pod's identity"):
        explained(answer("AccessDenied", 403, operation))
    with pytest.raises(StoreError, match=f"STS refused {operation}: Expired.*log in again"):
        explained(answer("ExpiredTokenException", 400, operation))
    for code, status in (("IDPCommunicationError", 400), ("Throttling", 400), ("503", 503)):
        found = explained(answer(code, status, operation))
        assert f"no credentials for {WHO}: STS answers {operation} with {code}" in str(found)


@pytest.mark.parametrize(
    ("error", "words"),
    [
        (EndpointConnectionError(endpoint_url=URL), "cannot be reached"),
        (ConnectTimeoutError(endpoint_url=URL), "cannot be reached"),
        (ConnectionResetError(), "cannot be reached"),
        (ReadTimeoutError(endpoint_url=URL), "does not answer in time"),
        (TimeoutError(), "does not answer in time"),
        (
            IncompleteReadError(actual_bytes=1, expected_bytes=2),
            "sent an incomplete or unreadable answer",
        ),
        (ResponseStreamingError(error="reset"), "sent an incomplete or unreadable answer"),
        (ResponseParserError("no XML"), "sent an incomplete or unreadable answer"),
        (CredentialRetrievalError(provider="sts", error_msg="no answer"), "no credentials for"),
        (RetriesExceededError(ReadTimeoutError(endpoint_url=URL)), "does not answer in time"),
    ],
)
def test_s3_errors_of_the_way_to_a_store_may_pass(error, words):
    found = explained(error)
    assert found is not None
    assert words in str(found)


def test_s3_errors_of_an_upload_are_those_of_its_parts():
    def failed(cause: ClientError) -> Exception:
        try:
            raise cause
        except ClientError:
            try:
                raise S3UploadFailedError("Failed to upload")
            except S3UploadFailedError as error:
                return error

    assert explained(failed(answer("SlowDown", 503))) is not None
    with pytest.raises(StoreError, match="AccessDenied"):
        explained(failed(answer("AccessDenied", 403)))


@pytest.mark.parametrize(
    "code", ["BadDigest", "XAmzContentChecksumMismatch", "XAmzContentSHA256Mismatch"]
)
def test_s3_errors_about_bytes_are_damage(code):
    with pytest.raises(DamagedObject):
        explained(answer(code, 400))
    with pytest.raises(DamagedObject):
        explained(FlexibleChecksumError(error_msg="no match"))


def test_s3_errors_about_missing_objects_and_settings_are_raised():
    with pytest.raises(FileNotFoundError):
        explained(answer("NoSuchKey", 404))
    with pytest.raises(StoreError, match="AWS_ACCESS_KEY_ID"):
        explained(NoCredentialsError())
    untrusted = SSLError(endpoint_url=URL, error="[SSL: CERTIFICATE_VERIFY_FAILED]")
    with pytest.raises(StoreError, match="AWS_CA_BUNDLE"):
        explained(untrusted)
    expired = SSLError(
        endpoint_url=URL,
        error="[SSL: CERTIFICATE_VERIFY_FAILED] certificate verify failed: certificate has expired "
        "(_ssl.c:1006)",
    )
    with pytest.raises(StoreError, match=r"\(certificate has expired\)\. Ask .* to renew it"):
        explained(expired)
    assert explained(OSError(28, "No space left on device")) is None


def test_clients_say_nothing_in_the_log_of_a_step(monkeypatch, caplog):
    """KFP's executor sets the root logger to INFO, where botocore tells of each client."""
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:9")
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "key")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "secret")
    logging.getLogger("botocore").setLevel(logging.NOTSET)
    with caplog.at_level(logging.INFO), pytest.raises(StoreError):
        S3Store("s3://bucket/prefix", seconds=1)
    assert not [each for each in caplog.records if each.name.startswith("botocore")]


def test_store_that_was_opened_for_a_step_gives_up_soon_once_the_step_has_failed(monkeypatch):
    made: list[float] = []
    paused: list[float] = []

    class Away:
        """A client of a store that has answered once."""

        meta = SimpleNamespace(endpoint_url=URL)

        def head_bucket(self, Bucket: str) -> None:  # noqa: N803
            pass

        def put_object(self, **_: object) -> None:
            raise answer("503", 503)

    def client(seconds: float) -> Away:
        made.append(seconds)
        return Away()

    monkeypatch.setenv(retry.RETRY_VARIABLE, "900")
    monkeypatch.setattr(s3, "s3_client", client)
    monkeypatch.setattr(retry, "sleep", paused.append)
    monkeypatch.setattr(retry, "monotonic", lambda: sum(paused))
    store = S3Store("s3://bucket/store")
    with retry.answering_quickly(), pytest.raises(StoreUnavailable):
        store.write("a", b"")
    assert sum(paused) == pytest.approx(15)
    with pytest.raises(StoreUnavailable):
        store.write("a", b"")
    assert sum(paused) == pytest.approx(15 + 900)
    assert made == [900, 15], "the quick one lets botocore itself try less often, too"


class Asked:
    """A client that counts its requests; each gets the next of its answers, or else b""."""

    meta = SimpleNamespace(endpoint_url=URL)

    def __init__(self, **answers: list[ClientError | None]) -> None:
        self.answers = answers
        self.asked: list[str] = []

    def __getattr__(self, operation: str) -> Callable[..., dict[str, object]]:
        def request(**_: object) -> dict[str, object]:
            self.asked.append(operation)
            left = self.answers.get(operation, [])
            if error := left.pop(0) if left else None:
                raise error
            return {}

        return request


def opened(monkeypatch, client: Asked, seconds: float) -> S3Store:
    monkeypatch.setattr(s3, "s3_client", lambda _: client)
    monkeypatch.setattr(retry, "sleep", lambda _: None)
    return S3Store("s3://bucket/store", seconds=seconds)


def no_bucket(times: int) -> list[ClientError | None]:
    return [answer("404", 404, "HeadBucket") for _ in range(times)]


def test_a_step_waits_for_a_bucket_that_a_starting_store_does_not_know_yet(monkeypatch):
    client = Asked(head_bucket=no_bucket(3))
    with pytest.raises(StoreError, match="refused the bucket at s3://bucket/store: 404"):
        opened(monkeypatch, client, 15)
    assert len(client.asked) == 1, "a person who mistyped it waits for the answer"
    opened(monkeypatch, client, 900)
    assert len(client.asked) == 5


def test_an_object_is_missing_only_from_a_bucket_that_is_there(monkeypatch):
    gone = answer("404", 404, "HeadObject")
    client = Asked(head_bucket=[None, *no_bucket(2)], head_object=[gone])
    store = opened(monkeypatch, client, 900)
    assert store.exists("a"), "the store that restarted has it"
    assert client.asked == ["head_bucket", "head_object", *["head_bucket"] * 3, "head_object"]
    client.answers = {"head_object": [gone]}
    client.asked.clear()
    assert not store.exists("a")
    assert client.asked == ["head_object", "head_bucket"]
    client.answers = {"get_object": [answer("NoSuchKey", 404, "GetObject")], **client.answers}
    with pytest.raises(FileNotFoundError):
        store.read("a")


def test_an_opened_store_waits_for_its_bucket(monkeypatch):
    lost = [answer("NoSuchBucket", 404) for _ in range(4)]
    client = Asked(put_object=lost)
    opened(monkeypatch, client, 15).write("a", b"")
    assert client.asked == [*["head_bucket", "put_object"] * 5]
    client.answers = {"put_object": [answer("NoSuchBucket", 404)]}
    with pytest.raises(StoreError, match="refused a at s3://bucket/store: NoSuchBucket"):
        opened(monkeypatch, client, 0).write("a", b"")


@pytest.mark.parametrize("status", [400, 403])
def test_a_refusal_without_a_body_is_explained_by_a_listing(monkeypatch, status):
    bare = answer(str(status), status, "HeadBucket")
    told = {"head_bucket": [bare], "list_objects_v2": [answer("ExpiredToken", 400)]}
    with pytest.raises(StoreError, match=r"the bucket at s3://bucket/store: ExpiredToken.*expired"):
        opened(monkeypatch, Asked(**told), 15)
    bare = answer(str(status), status, "HeadObject")
    told = {"head_object": [bare], "list_objects_v2": [answer("RequestTimeTooSkewed", 403)]}
    with pytest.raises(StoreError, match=r"refused a at .*: RequestTimeTooSkewed\. Set the clock"):
        opened(monkeypatch, Asked(**told), 15).exists("a")
    with pytest.raises(StoreError, match=f"refused a at .*: {status}. Check the bucket's name"):
        opened(monkeypatch, Asked(head_object=[bare]), 15).exists("a")
