"""Errors of the Kubernetes API: which of them may pass, and what the server said."""

from __future__ import annotations

import json
from multiprocessing import TimeoutError as PoolTimeout

from urllib3.exceptions import HTTPError

from lidr.components.shared.core.errors import BadInput


def status_of(error: BaseException) -> int:
    """Return the HTTP status behind an exception (the SDK wraps them), or 0."""
    from kubernetes.client import ApiException

    link: BaseException | None = error
    while link is not None:
        if isinstance(link, ApiException):
            return int(link.status or 0)
        link = link.__cause__
    return 0


def passing_reason(error: Exception, what: str) -> str:
    """Return what an API server does that may pass, as a predicate; raise what will not pass.

    Raises:
        BadInput: the API server understood, and refuses.
    """
    status = status_of(error)
    if status in (401, 403):
        raise BadInput(
            f"may not {what}: {_message(error)}",
            remedy="Give the step's service account the Role of manifests/base.",
        ) from error
    if 400 <= status < 500 and status not in (404, 408, 409, 429):
        raise BadInput(f"cannot {what}: {_message(error)}") from error
    root = error.__cause__ or error
    if not status and not isinstance(root, HTTPError | OSError | PoolTimeout):
        raise error
    if status >= 500:
        return f"is up, but cannot do its work (HTTP {status})"
    return f"answers with HTTP {status}" if status else f"does not answer ({type(root).__name__})"


def _message(error: BaseException) -> str:
    """Return the API server's own words."""
    body = getattr(error.__cause__ or error, "body", "") or str(error)
    try:
        return str(json.loads(body)["message"])
    except (ValueError, KeyError, TypeError):
        return str(body)
