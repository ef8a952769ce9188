"""Errors of the Kubernetes API: which of them are transient, and what the server said."""

from __future__ import annotations

import json
from multiprocessing import TimeoutError as PoolTimeout

from urllib3.exceptions import HTTPError

from lidr.components.shared.core.errors import BadInput

_TRANSIENT = (HTTPError, OSError, PoolTimeout)
_TERMINATING = "is being terminated"
POLICY_SIGNS = (
    " quota",
    "denied the request",
    "denied request",
    "violates PodSecurity",
    _TERMINATING,
)
"""Parts of the message of a 403 by admission control; any other 403 means a missing right."""


def status_of(error: BaseException) -> int:
    """Return the HTTP status of an exception, or of one that it wraps as the SDK does; else 0."""
    from kubernetes.client import ApiException

    link: BaseException | None = error
    while link is not None:
        if isinstance(link, ApiException):
            return int(link.status or 0)
        link = link.__cause__
    return 0


def transient_reason(error: Exception, what: str) -> str:
    """Return what is wrong with an API server, as a predicate, if the error is transient.

    Args:
        error: raised by the client or the SDK.
        what: the request, as an infinitive, e.g. `read pod x`.

    Raises:
        BadInput: the API server refused the request.
        Exception: `error` itself, if it is not about the API server.
    """
    status = status_of(error)
    if status in (401, 403):
        raise _denial(status, what, message_of(error)) from error
    if 400 <= status < 500 and status not in (404, 408, 409, 429):
        raise BadInput(f"cannot {what}: {message_of(error)}") from error
    root = error.__cause__ or error
    # If an answer breaks off, the error is urllib3's, but its cause may be http.client's.
    if not status and not any(isinstance(each, _TRANSIENT) for each in (error, root)):
        raise error
    if status >= 500:
        return f"is up, but cannot do its work (HTTP {status})"
    return f"answers with HTTP {status}" if status else f"does not answer ({type(root).__name__})"


def _denial(status: int, what: str, message: str) -> BadInput:
    """Return the error for a 401 or 403, with the remedy of its cause."""
    if status == 401:
        remedy = "Renew the service account's token or the kubeconfig."
    elif _TERMINATING in message:
        remedy = "Create the namespace again once it is gone, or name another in the profile."
    elif any(sign in message for sign in POLICY_SIGNS):
        remedy = "Meet the cluster's policy or quota."
    else:
        remedy = "Give the step's service account the Role of manifests/base."
        return BadInput(f"may not {what}: {message}", remedy=remedy)
    return BadInput(f"cannot {what}: {message}", remedy=remedy)


def message_of(error: BaseException) -> str:
    """Return the API server's message."""
    body = getattr(error.__cause__ or error, "body", "") or str(error)
    try:
        return str(json.loads(body)["message"])
    except (ValueError, KeyError, TypeError):
        return str(body)
