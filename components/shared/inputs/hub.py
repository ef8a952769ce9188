"""Requests to the model hub (huggingface.co, or HF_ENDPOINT), retried while it is unavailable."""

from __future__ import annotations

import errno
import os
import re
from collections.abc import Callable, Iterator
from typing import Any, TypeVar

from lidr.components.shared.core.errors import BadInput, LidrError, Unavailable
from lidr.components.shared.core.retry import retry
from lidr.components.shared.core.text import one_line

Result = TypeVar("Result")

_OFFLINE_ERROR = "OfflineModeIsEnabled"
_NETWORK_ERRORS = frozenset(
    {
        "ChunkedEncodingError",
        "ConnectionError",
        "NetworkError",
        "ProxyError",
        "RemoteProtocolError",
        "Timeout",
        "TimeoutError",
        "TimeoutException",
    }
)
"""Class names of network errors; the classes change with huggingface_hub's HTTP library."""

_XET_ERROR = re.compile(
    r"\A((Upload |Previous |Clean )?[Tt]ask error|Task (Runtime|Join) Error|IO Error): "
    r"|CAS Client Error"
)
"""Messages of hf_xet 1.8, which transfers files and raises a RuntimeError for any failure."""

_XET_REFUSAL = re.compile(r"client error \((?!408|429)")
_XET_ERRNO = re.compile(r"os error (\d+)")

_WRONG_SIZE = "Consistency check failed"
"""huggingface_hub's message for a file, usually cut short, of another size than the hub states."""

_DISK_FULL = frozenset({errno.ENOSPC, errno.EDQUOT})
_NOT_WRITABLE = frozenset({errno.EACCES, errno.EPERM, errno.EROFS})


def ask_hub(
    action: Callable[[], Result],
    what: str,
    remedy: str = "Check the name, the revision, HF_TOKEN and the network.",
) -> Result:
    """Call the hub; retry while it fails in a way that may pass.

    Args:
        action: calls huggingface_hub, which resumes interrupted downloads.
        what: start of error messages, e.g. "hf://org/name@<commit> cannot be downloaded".
        remedy: what a user can do if the hub refuses.

    Raises:
        BadInput: the hub refuses (no such thing, or access is denied), or its files cannot be
            written to the disk.
        Unavailable: the hub failed for LIDR_RETRY_SECONDS.
    """
    who = f"the model hub at {os.environ.get('HF_ENDPOINT', 'https://huggingface.co')}"

    def explain(error: Exception) -> LidrError | None:
        causes = list(_causes(error))
        if passing := _transient_failure(causes):
            return Unavailable(
                f"{what}: {who} {passing}",
                remedy="Check the network and whether the hub opens in a browser, then run again.",
            )
        numbers = set[int]().union(*map(_errnos, causes))
        said = one_line(_explained(error))
        if numbers & _DISK_FULL:
            raise BadInput(
                f"{what}: the disk is full",
                remedy="Free space, or set HF_HOME (for lidr fetch: LIDR_CACHE) to another disk.",
            ) from error
        if numbers & _NOT_WRITABLE:
            raise BadInput(
                f"{what}: {said}",
                remedy="Set HF_HOME (for lidr fetch: LIDR_CACHE) to a folder that can be written.",
            ) from error
        if any("InvalidURL" in _names(each) for each in causes):
            raise BadInput(f"{what}: {who}: {said}", remedy="Check HF_ENDPOINT.") from error
        if any(map(_is_refusal, _stated_causes(error))):
            raise BadInput(f"{what}: {said}", remedy=remedy) from error
        return None

    return retry(action, who, explain, long=True)


def _causes(error: BaseException) -> Iterator[BaseException]:
    """Yield an error and its causes, the outermost first."""
    link: BaseException | None = error
    while link is not None:
        yield link
        link = link.__cause__ or link.__context__


def _stated_causes(error: BaseException) -> Iterator[BaseException]:
    """Yield an error and its causes by `raise ... from`, such as the 403 of an upload."""
    link: BaseException | None = error
    while link is not None:
        yield link
        link = link.__cause__


def _explained(error: BaseException) -> str:
    """Return an error's text, followed by that of its first cause that is a refusal."""
    causes = list(_stated_causes(error))
    reason = next(filter(_is_refusal, causes), error)
    return str(error) if reason is error else f"{error} {reason}"


def _is_refusal(error: BaseException) -> bool:
    """Return whether an error comes from the hub, its files or its clients, not this program."""
    known = isinstance(error, OSError | ValueError) or "HTTPError" in _names(error)
    return known or _is_xet(error)


def _transient_failure(causes: list[BaseException]) -> str:
    """Return how the hub fails, to follow its name in a sentence; "" if the failure will last."""
    for cause in causes:
        if _is_xet(cause):
            disk = _errnos(cause) & (_DISK_FULL | _NOT_WRITABLE)
            lasts = disk or _XET_REFUSAL.search(str(cause))
            return "" if lasts else f"does not send its files ({one_line(str(cause))})"
        if _WRONG_SIZE in str(cause):
            return "sends a file of the wrong size"
        status = _status(cause)
        if status >= 500:
            return f"answers with an error (HTTP {status})"
        if status in (408, 429):
            return f"asks for fewer requests (HTTP {status})"
        if status or _OFFLINE_ERROR in _names(cause) or "CERTIFICATE_VERIFY_FAILED" in str(cause):
            return ""
    network = [cause for cause in causes if _NETWORK_ERRORS & _names(cause)]
    return f"does not answer ({type(network[-1]).__name__})" if network else ""


def _status(error: BaseException) -> int:
    response: Any = getattr(error, "response", None)
    return int(getattr(response, "status_code", 0))


def _is_xet(error: BaseException) -> bool:
    return type(error) is RuntimeError and bool(_XET_ERROR.search(str(error)))


def _errnos(error: BaseException) -> set[int]:
    if _is_xet(error):
        return set(map(int, _XET_ERRNO.findall(str(error))))
    return {error.errno or 0} if isinstance(error, OSError) else set()


def _names(error: BaseException) -> set[str]:
    return {kind.__name__ for kind in type(error).__mro__}
