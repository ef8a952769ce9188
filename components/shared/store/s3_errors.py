"""Errors of S3 and its imitations: which of them may pass, and what to do about the others."""

from __future__ import annotations

from typing import TYPE_CHECKING

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
"""The store asks for fewer requests."""

PASSING_CODES = BUSY_CODES | {
    "ConditionalRequestConflict",  # another conditional write is under way
    "NoSuchUpload",  # a transfer in parts was answered, but we did not hear: it is recreated
    "OperationAborted",
    "PreconditionFailed",  # the object was replaced while it was read
    "RequestTimeout",  # the store waited for our bytes in vain
    "XMinioServerNotInitialized",
}
"""Codes after which the same request may succeed later, whatever their HTTP status."""

PASSING_STATUSES = frozenset({408, 412, 429, *range(500, 600)}) - {501, 505}
"""The same for HTTP statuses; the answer to a HEAD has no other code."""

_MISSING = ("404", "NoSuchKey", "NotFound")
_DAMAGED = ("BadDigest", "XAmzContentSHA256Mismatch")

_LOG = "Look at its log, its load and its free disk, then run the same command again."
_NETWORK = "Check AWS_ENDPOINT_URL and the network, and that the store runs."
_IDENTITY = "Look at what gives them: the pod's identity, the metadata service, AWS_PROFILE."
_STORE = "Check the object store, then run again."
_ACCESS = "Check the bucket's name, the credentials and the bucket's policy."
_REMEDIES = {
    "ExpiredToken": "Log in again: the credentials have expired.",
    "MissingContentLength": "Set AWS_REQUEST_CHECKSUM_CALCULATION=when_required.",
    "NotImplemented": "Use a store that has what lidr needs; `lidr check` says what it lacks.",
    "RequestTimeTooSkewed": "Set the clock of this machine, or of the store.",
}


def code_of(error: ClientError) -> str:
    """Return S3's own code; the HTTP status where the answer had no body."""
    return str(error.response.get("Error", {}).get("Code", ""))


def may_pass(code: str, status: int) -> bool:
    """Return whether the same request may succeed later."""
    return code in PASSING_CODES or status in PASSING_STATUSES


def explain(error: Exception, who: str, place: str, key: str) -> StoreError | None:
    """Say what is wrong with a store; see `retry.Explain`.

    Args:
        error: raised by boto3.
        who: the store, for messages.
        place: its URI.
        key: what was asked for; "" is the bucket itself.

    Raises:
        FileNotFoundError: there is no such object.
        StoreError: another attempt does not help.
    """
    from boto3.exceptions import Boto3Error
    from botocore import exceptions

    cause = _cause(error)
    if isinstance(cause, exceptions.ClientError):
        return _of_answer(cause, who, place, key)
    if isinstance(cause, exceptions.ChecksumError | exceptions.FlexibleChecksumError):
        raise _damaged(f"{place}/{key}", "came") from error
    if isinstance(cause, exceptions.SSLError) and "CERTIFICATE_VERIFY_FAILED" in str(cause):
        raise StoreError(
            f"{who} shows a certificate that is not trusted",
            remedy="Name its authority's file in AWS_CA_BUNDLE.",
        ) from error
    if passing := _of_connection(cause, who):
        return passing
    if isinstance(cause, exceptions.BotoCoreError | Boto3Error):
        raise StoreError(
            f"S3 cannot be used for {place}: {cause}",
            remedy="Check the region and the credentials, AWS_REGION, AWS_ACCESS_KEY_ID and "
            "AWS_SECRET_ACCESS_KEY.",
        ) from error
    return None


def _cause(error: Exception) -> BaseException:
    """Return what made a transfer of several requests fail."""
    from boto3.exceptions import RetriesExceededError, S3UploadFailedError

    if isinstance(error, RetriesExceededError):
        return error.last_exception or error  # type: ignore[attr-defined]
    if isinstance(error, S3UploadFailedError):
        return error.__context__ or error
    return error


def _of_connection(cause: BaseException, who: str) -> StoreError | None:
    from botocore import exceptions
    from botocore.parsers import ResponseParserError

    broken = exceptions.IncompleteReadError | exceptions.ResponseStreamingError
    unreachable = exceptions.ConnectionError | exceptions.HTTPClientError
    if isinstance(cause, exceptions.ReadTimeoutError | TimeoutError):
        return StoreUnavailable(f"{who} does not answer in time: {cause}", remedy=_LOG)
    if isinstance(cause, broken | ResponseParserError):
        return StoreUnavailable(f"{who} breaks its answers off: {cause}", remedy=_NETWORK)
    if isinstance(cause, exceptions.CredentialRetrievalError):
        return StoreUnavailable(f"no credentials for {who}: {cause}", remedy=_IDENTITY)
    if isinstance(cause, unreachable | ConnectionError):
        return StoreUnavailable(f"{who} cannot be reached: {cause}", remedy=_NETWORK)
    return None


def _of_answer(error: ClientError, who: str, place: str, key: str) -> StoreError:
    code = code_of(error)
    status = int(error.response.get("ResponseMetadata", {}).get("HTTPStatusCode", 0))
    what = f"{place}/{key}".rstrip("/")
    if code in _MISSING and key:
        raise FileNotFoundError(what) from error
    if code in _DAMAGED:
        raise _damaged(what, "arrived") from error
    if code in BUSY_CODES or status == 429:
        return StoreUnavailable(f"{who} asks for fewer requests ({code})", remedy=_LOG)
    if may_pass(code, status):
        return StoreUnavailable(
            f"{who} answers {code} (HTTP {status}) for {what}: it is up, but cannot do its work",
            remedy=_LOG,
        )
    raise StoreError(
        f"S3 refused {key or 'the bucket'} at {place}: {code}",
        remedy=_REMEDIES.get(code, _ACCESS),
    ) from error


def _damaged(what: str, how: str) -> DamagedObject:
    return DamagedObject(f"{what} {how} with other bytes than were sent", remedy=_STORE)
