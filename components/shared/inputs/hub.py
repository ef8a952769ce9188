"""Requests to the model hub (huggingface.co, or HF_ENDPOINT), retried while it is unavailable."""

from __future__ import annotations

import errno
import os
from collections.abc import Callable, Iterator
from typing import Any, TypeVar

from lidr.components.shared.core.errors import BadInput, LidrError, Unavailable
from lidr.components.shared.core.retry import retry

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
"""Names of network errors: huggingface_hub has changed its HTTP library, and may again."""


def ask_hub(
    action: Callable[[], Result],
    what: str,
    remedy: str = "Check the name, the revision, HF_TOKEN and the network.",
) -> Result:
    """Call the hub; retry while it fails in a way that may pass.

    Args:
        action: calls huggingface_hub, which resumes interrupted downloads.
        what: start of error messages, e.g. "hf://org/name@main cannot be downloaded".
        remedy: of the BadInput.

    Raises:
        BadInput: the hub refuses (no such thing, or access is denied), or the disk is full.
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
        if any(getattr(each, "errno", None) == errno.ENOSPC for each in causes):
            raise BadInput(
                f"{what}: the disk is full",
                remedy="Free some space, or set HF_HOME (LIDR_CACHE for fetch) to another disk.",
            ) from error
        if isinstance(error, OSError | ValueError) or "HTTPError" in _names(error):
            said = " ".join(str(error).split())
            raise BadInput(f"{what}: {said}", remedy=remedy) from error
        return None

    return retry(action, who, explain, long=True)


def _causes(error: BaseException) -> Iterator[BaseException]:
    """Yield an error and its causes, the outermost first."""
    link: BaseException | None = error
    while link is not None:
        yield link
        link = link.__cause__ or link.__context__


def _transient_failure(causes: list[BaseException]) -> str:
    """Return how the hub fails, as a predicate, if that may pass; "" if not."""
    for cause in causes:
        status = _status(cause)
        if status >= 500:
            return f"is up, but cannot do its work (HTTP {status})"
        if status in (408, 429):
            return f"asks for fewer requests (HTTP {status})"
        if status or _OFFLINE_ERROR in _names(cause) or "CERTIFICATE_VERIFY_FAILED" in str(cause):
            return ""
    network = [cause for cause in causes if _NETWORK_ERRORS & _names(cause)]
    return f"does not answer ({type(network[-1]).__name__})" if network else ""


def _status(error: BaseException) -> int:
    response: Any = getattr(error, "response", None)
    return int(getattr(response, "status_code", 0))


def _names(error: BaseException) -> set[str]:
    return {kind.__name__ for kind in type(error).__mro__}
