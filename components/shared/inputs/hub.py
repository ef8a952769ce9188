"""The model hub (huggingface.co, or what HF_ENDPOINT names), asked again while it fails."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from typing import Any, TypeVar

from lidr.components.shared.core.errors import BadInput, LidrError, Unavailable
from lidr.components.shared.core.retry import retry

Result = TypeVar("Result")

_OFFLINE = "OfflineModeIsEnabled"
_NETWORK = frozenset(
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
"""Errors on the way to a server, by name: the hub's library changes its HTTP library."""


def ask_hub(action: Callable[[], Result], what: str, remedy: str) -> Result:
    """Ask the hub, again and again while it fails in a way that may pass.

    Args:
        action: calls huggingface_hub, whose downloads go on where they were.
        what: cannot be done, for messages, e.g. "hf://org/name@main cannot be downloaded".
        remedy: where the hub refuses.

    Raises:
        BadInput: it refuses: there is no such thing, or it may not be read.
        Unavailable: it did not answer for LIDR_RETRY_SECONDS.
    """
    who = f"the model hub at {os.environ.get('HF_ENDPOINT', 'https://huggingface.co')}"

    def explain(error: Exception) -> LidrError | None:
        causes = list(_causes(error))
        if passing := _passing(causes):
            return Unavailable(
                f"{what}: {who} {passing}",
                remedy="See whether it works in a browser, and the network; then run again.",
            )
        if isinstance(error, OSError | ValueError) or "HTTPError" in _names(error):
            said = " ".join(str(error).split())
            raise BadInput(f"{what}: {said}", remedy=remedy) from error
        return None

    return retry(action, who, explain, long=True)


def _causes(error: BaseException) -> Iterator[BaseException]:
    """Yield an error and what led to it, the outermost first."""
    link: BaseException | None = error
    while link is not None:
        yield link
        link = link.__cause__ or link.__context__


def _passing(causes: list[BaseException]) -> str:
    """Return what the hub does that may pass, as a predicate, or ""."""
    for cause in causes:
        status = _status(cause)
        if status >= 500:
            return f"is up, but cannot do its work (HTTP {status})"
        if status in (408, 429):
            return f"asks for fewer requests (HTTP {status})"
        if status or _OFFLINE in _names(cause) or "CERTIFICATE_VERIFY_FAILED" in str(cause):
            return ""
    network = [cause for cause in causes if _NETWORK & _names(cause)]
    return f"does not answer ({type(network[-1]).__name__})" if network else ""


def _status(error: BaseException) -> int:
    response: Any = getattr(error, "response", None)
    return int(getattr(response, "status_code", 0))


def _names(error: BaseException) -> set[str]:
    return {kind.__name__ for kind in type(error).__mro__}
