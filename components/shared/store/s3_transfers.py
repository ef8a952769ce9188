"""Repeats single requests of a large S3 transfer, so that one failure does not restart it all.

A file of 100 GiB has 1,600 parts. Where a store refuses every fifth request, one part nearly always
fails as often in a row as botocore tries, and boto3 would begin again with the first byte.
"""

from __future__ import annotations

from typing import Any

from lidr.components.shared.core.retry import Explain, Wait
from lidr.components.shared.store.s3_errors import code_of, is_transient, restarts

_CONTEXT = "lidr_wait"
_NOT_REPEATED = "AbortMultipartUpload"
"""It tidies up after an upload that has been given up."""


def repeat_requests(client: Any, service: str, explain: Explain, seconds: float | None) -> None:
    """Let a client repeat each request, for a time of its own, while its errors are transient.

    botocore's retries come first. Its event `needs-retry` asks for the seconds until the next
    attempt (botocore.endpoint.Endpoint._needs_retry).

    Args:
        client: of boto3, used for this transfer only.
        service: the store, for messages.
        explain: of the object; see `retry.Explain`.
        seconds: from a request's first failure to its last attempt; by default LIDR_RETRY_SECONDS.
    """

    def pause(
        response: tuple[Any, dict[str, Any]] | None,
        caught_exception: Exception | None,
        operation: Any,
        request_dict: dict[str, Any],
        **_: object,
    ) -> float | None:
        error = caught_exception or _transient_error(response, operation.name)
        if error is None or operation.name == _NOT_REPEATED:
            return None
        wait: Wait = request_dict["context"].setdefault(_CONTEXT, Wait(service, seconds))
        return wait.pause_after(error, explain)

    client.meta.events.register("needs-retry.s3", pause)


def _transient_error(
    response: tuple[Any, dict[str, Any]] | None, operation: str
) -> Exception | None:
    """Return the error of an answer after which the same request may succeed, or None."""
    from botocore.exceptions import ClientError

    http, parsed = response or (None, {})
    if http is None or http.status_code < 300:
        return None
    error = ClientError(parsed, operation)  # type: ignore[arg-type]
    repeats = is_transient(code_of(error), http.status_code) and not restarts(code_of(error))
    return error if repeats else None
