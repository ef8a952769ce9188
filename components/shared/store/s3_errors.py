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

_RESTARTING_CODES = frozenset(
    {
        # The upload was completed but the answer was lost, and botocore asked again.
        "NoSuchUpload",
        "PreconditionFailed",  # the object was replaced while it was read
        "412",
    }
)
"""Codes after which a transfer in parts must begin again."""

TRANSIENT_CODES = (
    BUSY_CODES
    | _RESTARTING_CODES
    | {
        "ConditionalRequestConflict",  # another conditional write is under way
        "IncompleteBody",  # fewer bytes reached the store than were announced
        "OperationAborted",
        "RequestTimeout",  # our bytes did not reach the store in time
        "XMinioServerNotInitialized",
    }
)
"""Codes after which the same request may succeed later, whatever their HTTP status."""

TRANSIENT_STATUSES = frozenset({408, 412, 429, *range(500, 600)}) - {501, 505}
"""HTTP statuses after which the same request may succeed later.

The answer to a HEAD has no body, so its status is all there is."""

MISSING_CODES = ("404", "NoSuchKey", "NotFound")
"""Codes for an object that does not exist."""

_NO_BUCKET = ("404", "NoSuchBucket", "NotFound")
_DAMAGED = ("BadDigest", "XAmzContentChecksumMismatch", "XAmzContentSHA256Mismatch")
_STS = "AssumeRole"
"""Start of the names of the STS operations with which boto3 fetches credentials."""

_LOG = "Look at its log, its load and its free disk, then run the same command again."
_FEWER = "Run fewer workers at a time, or raise the store's request limit, then run again."
_NETWORK = "Check AWS_ENDPOINT_URL_S3 or AWS_ENDPOINT_URL, the network, and that the store runs."
_IDENTITY = "Check where they come from: the pod's identity, the metadata service, AWS_PROFILE."
_STORE = "Check the object store, then run again."
_ACCESS = "Check the bucket's name, the credentials and the bucket's policy."
_BUCKET = "Check the bucket's name, and that the store has started completely."
_EXPIRED = "The credentials have expired: log in again, or renew the Secret they come from."
_REMEDIES = {
    **dict.fromkeys(("ExpiredToken", "ExpiredTokenException", "TokenRefreshRequired"), _EXPIRED),
    "MissingContentLength": "Set AWS_REQUEST_CHECKSUM_CALCULATION=when_required.",
    "NotImplemented": "Use a store that has what lidr needs; `lidr check` lists what is missing.",
    "RequestTimeTooSkewed": "Set the clock of this machine, or of the store.",
}


class NoBucket(StoreError):
    """There is no such bucket. A store that is starting may say so too."""


def code_of(error: ClientError) -> str:
    """Return the error code of S3 or STS; the HTTP status if the answer had no body."""
    return str(error.response.get("Error", {}).get("Code", ""))


def is_transient(code: str, status: int) -> bool:
    """Return whether the same request may succeed later."""
    return code in TRANSIENT_CODES or status in TRANSIENT_STATUSES


def restarts(code: str) -> bool:
    """Return whether the whole transfer must begin again, not the request alone."""
    return code in _RESTARTING_CODES


def explain(error: Exception, who: str, place: str, key: str) -> StoreError | None:
    """Return the error to raise if no retry succeeds; see `retry.Explain`.

    It is None if the error is not the store's, e.g. a full disk of this machine.

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
    status = _status_of(error)
    if error.operation_name.startswith(_STS):
        return _explain_sts(error, who)
    if error.operation_name == "HeadBucket":  # asked for because the object was not found
        key = ""
    what = f"{place}/{key}".rstrip("/")
    if code in MISSING_CODES and key:
        raise FileNotFoundError(what) from error
    if code in _DAMAGED:
        raise _damaged(what, "was damaged on the way to") from error
    if code in BUSY_CODES or status == 429:
        return StoreUnavailable(f"{who} asks for fewer requests ({code})", remedy=_FEWER)
    if is_transient(code, status):
        said = code if code == str(status) else f"{code} (HTTP {status})"
        return StoreUnavailable(
            f"{who} answers {said} for {what}: it cannot serve requests now", remedy=_LOG
        )
    kind, remedy = (NoBucket, _BUCKET) if code in _NO_BUCKET else (StoreError, _ACCESS)
    raise kind(
        f"S3 refused {key or 'the bucket'} at {place}: {code}",
        remedy=_REMEDIES.get(code, remedy),
    ) from error


def _explain_sts(error: ClientError, who: str) -> StoreError:
    """Return or raise the error of a request for credentials; see `explain`."""
    code, operation = code_of(error), error.operation_name
    if is_transient(code, _status_of(error)) or code == "IDPCommunicationError":
        return StoreUnavailable(
            f"no credentials for {who}: STS answers {operation} with {code}", remedy=_IDENTITY
        )
    raise StoreError(
        f"no credentials for {who}: STS refused {operation}: {code}",
        remedy=_REMEDIES.get(code, _IDENTITY),
    ) from error


def _status_of(error: ClientError) -> int:
    return int(error.response.get("ResponseMetadata", {}).get("HTTPStatusCode", 0))


def _damaged(what: str, how: str) -> DamagedObject:
    return DamagedObject(f"{what} {how} the store", remedy=_STORE)
