"""Errors of S3 and compatible servers: which are transient, and what to do about the others."""

from __future__ import annotations

from typing import TYPE_CHECKING

from lidr.components.shared.core.certificates import certificate_problem
from lidr.components.shared.core.errors import DamagedObject, StoreError, StoreUnavailable

if TYPE_CHECKING:
    from botocore.exceptions import ClientError

BUSY_CODES = frozenset(
    {
        "BandwidthLimitExceeded",
        "RequestLimitExceeded",
        "RequestThrottled",
        "RequestThrottledException",
        "SlowDown",
        "SlowDownRead",
        "SlowDownWrite",
        "Throttling",
        "ThrottlingException",
        "TooManyRequests",
        "TooManyRequestsException",
    }
)
"""Codes with which a store asks for fewer requests."""

TRANSIENT_CODES = BUSY_CODES | {
    "ConditionalRequestConflict",  # another conditional write is under way
    "NoSuchUpload",  # a multipart upload was completed, but its answer was lost: it is repeated
    "OperationAborted",
    "PreconditionFailed",  # the object was replaced while it was read
    "RequestTimeout",  # our bytes did not reach the store in time
    "XMinioServerNotInitialized",
}
"""Codes after which the same request may succeed later, whatever their HTTP status."""

TRANSIENT_STATUSES = frozenset({408, 412, 429, *range(500, 600)}) - {501, 505}
"""The same for HTTP statuses: the answer to a HEAD has no other code."""

_MISSING = ("404", "NoSuchKey", "NotFound")
_NO_BUCKET = ("404", "NoSuchBucket", "NotFound")
_DAMAGED = ("BadDigest", "XAmzContentSHA256Mismatch")

_LOG = "Look at its log, its load and its free disk, then run the same command again."
_NETWORK = "Check AWS_ENDPOINT_URL_S3 or AWS_ENDPOINT_URL, the network, and that the store runs."
_IDENTITY = "Check where they come from: the pod's identity, the metadata service, AWS_PROFILE."
_STORE = "Check the object store, then run again."
_ACCESS = "Check the bucket's name, the credentials and the bucket's policy."
_REMEDIES = {
    "ExpiredToken": "Log in again: the credentials have expired.",
    "MissingContentLength": "Set AWS_REQUEST_CHECKSUM_CALCULATION=when_required.",
    "NotImplemented": "Use a store that has what lidr needs; `lidr check` lists what is missing.",
    "RequestTimeTooSkewed": "Set the clock of this machine, or of the store.",
}


class NoBucket(StoreError):
    """The store knows no such bucket; one that is being restarted may know it a little later."""


def code_of(error: ClientError) -> str:
    """Return S3's error code; the HTTP status if the answer had no body."""
    return str(error.response.get("Error", {}).get("Code", ""))


def is_transient(code: str, status: int) -> bool:
    """Return whether the same request may succeed later."""
    return code in TRANSIENT_CODES or status in TRANSIENT_STATUSES


def explain(error: Exception, who: str, place: str, key: str) -> StoreError | None:
    """Return the error to raise unless a retry succeeds; see `retry.Explain`.

    Args:
        error: raised by boto3.
        who: the store, for messages.
        place: its URI.
        key: of the object; "" is the bucket.

    Raises:
        FileNotFoundError: there is no such object.
        DamagedObject: bytes changed on the way.
        StoreError: a retry does not help.
    """
    from boto3.exceptions import Boto3Error
    from botocore import exceptions

    cause = _cause(error)
    if isinstance(cause, exceptions.ClientError):
        return _explain_answer(cause, who, place, key)
    if isinstance(cause, exceptions.ChecksumError | exceptions.FlexibleChecksumError):
        raise _damaged(f"{place}/{key}", "arrived damaged from") from error
    certificate = certificate_problem(str(cause), "AWS_CA_BUNDLE")
    if certificate and isinstance(cause, exceptions.SSLError):
        raise StoreError(
            f"{who} shows a certificate that is not trusted ({certificate.cause})",
            remedy=certificate.remedy,
        ) from error
    if transient := _explain_connection(cause, who):
        return transient
    if isinstance(cause, exceptions.BotoCoreError | Boto3Error):
        raise StoreError(
            f"S3 cannot be used for {place}: {cause}",
            remedy="Check the region and the credentials, AWS_REGION, AWS_ACCESS_KEY_ID and "
            "AWS_SECRET_ACCESS_KEY.",
        ) from error
    return None


def _cause(error: Exception) -> BaseException:
    """Return the error of a single request, which the error of a transfer wraps."""
    from boto3.exceptions import RetriesExceededError, S3UploadFailedError

    if isinstance(error, RetriesExceededError):
        return error.last_exception or error  # type: ignore[attr-defined]
    if isinstance(error, S3UploadFailedError):
        return error.__context__ or error
    return error


def _explain_connection(cause: BaseException, who: str) -> StoreError | None:
    from botocore import exceptions
    from botocore.parsers import ResponseParserError

    broken = exceptions.IncompleteReadError | exceptions.ResponseStreamingError
    unreachable = exceptions.ConnectionError | exceptions.HTTPClientError
    if isinstance(cause, exceptions.ReadTimeoutError | TimeoutError):
        return StoreUnavailable(f"{who} does not answer in time: {cause}", remedy=_LOG)
    if isinstance(cause, broken | ResponseParserError):
        return StoreUnavailable(
            f"{who} sent an incomplete or unreadable answer: {cause}", remedy=_NETWORK
        )
    if isinstance(cause, exceptions.CredentialRetrievalError):
        return StoreUnavailable(f"no credentials for {who}: {cause}", remedy=_IDENTITY)
    if isinstance(cause, unreachable | ConnectionError):
        return StoreUnavailable(f"{who} cannot be reached: {cause}", remedy=_NETWORK)
    return None


def _explain_answer(error: ClientError, who: str, place: str, key: str) -> StoreError:
    code = code_of(error)
    status = int(error.response.get("ResponseMetadata", {}).get("HTTPStatusCode", 0))
    what = f"{place}/{key}".rstrip("/")
    if code in _MISSING and key:
        raise FileNotFoundError(what) from error
    if code in _DAMAGED:
        raise _damaged(what, "was damaged on the way to") from error
    if code in BUSY_CODES or status == 429:
        return StoreUnavailable(f"{who} asks for fewer requests ({code})", remedy=_LOG)
    if is_transient(code, status):
        return StoreUnavailable(
            f"{who} answers {code} (HTTP {status}) for {what}: it is up, but cannot do its work",
            remedy=_LOG,
        )
    kind = NoBucket if code in _NO_BUCKET else StoreError
    raise kind(
        f"S3 refused {key or 'the bucket'} at {place}: {code}",
        remedy=_REMEDIES.get(code, _ACCESS),
    ) from error


def _damaged(what: str, how: str) -> DamagedObject:
    return DamagedObject(f"{what} {how} the store", remedy=_STORE)
