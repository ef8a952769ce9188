"""Files from web servers: pinned by their digest, continued where a connection broke off.

`requests` reads HTTPS_PROXY, NO_PROXY, REQUESTS_CA_BUNDLE and ~/.netrc as usual; a login is not
sent on to another host.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import requests

from lidr.components.shared.core.digest import digest_of_file
from lidr.components.shared.core.errors import BadInput, LidrError, Unavailable
from lidr.components.shared.core.retry import retry

Advance = Callable[[int], None]
"""Takes the number of bytes that have arrived since it was called last."""

_TIMEOUT = (10.0, 60.0)
"""Seconds to connect, and between two pieces of an answer."""

_PIECE_BYTES = 1 << 16
_PASSING = (408, 425, 429)


def download(url: str, path: Path, sha256: str, advance: Advance = lambda _: None) -> None:
    """Download a file; what is there of an interrupted download is continued.

    Args:
        url: `https://` or `http://`.
        path: of the file; it has its name only when it is whole.
        sha256: its digest.
        advance: is told of progress.

    Raises:
        BadInput: the server has no such file, or another one than the recipe pins.
        Unavailable: it did not answer for LIDR_RETRY_SECONDS.
    """
    if path.is_file() and digest_of_file(path) == sha256:  # whole, but its reader was killed
        return
    part = path.with_name(f"{path.name}.part")
    host = urlsplit(url).netloc
    for attempt in (1, 2):  # a second time from the start: what was continued may be another's
        retry(lambda: _receive(url, part, advance), host, _explain(url), long=True)
        if (actual := digest_of_file(part)) == sha256:
            part.replace(path)
            return
        part.unlink()
        if attempt == 2:
            raise BadInput(
                f"has the SHA-256 {actual}, the recipe pins {sha256}",
                file=url,
                remedy="The file changed, or the pin is another file's: look at the file, then "
                "correct sha256 in the recipe.",
            )


def _receive(url: str, part: Path, advance: Advance) -> None:
    """Append to a partial file what it lacks."""
    have = part.stat().st_size if part.exists() else 0
    headers = {"Range": f"bytes={have}-"} if have else {}
    with requests.get(
        url, headers={"Accept-Encoding": "identity", **headers}, stream=True, timeout=_TIMEOUT
    ) as answer:
        if answer.status_code == 416:  # nothing is missing, or the file is another one now
            return
        answer.raise_for_status()
        _require_safe(url, answer.url)
        go_on = answer.status_code == 206 and _starts_at(answer, have)
        with part.open("ab" if go_on else "wb") as file:
            received = 0
            for piece in answer.iter_content(_PIECE_BYTES):
                file.write(piece)
                received += len(piece)
                advance(len(piece))
        expected = answer.headers.get("Content-Length", "")
        if expected.isdigit() and received < int(expected):
            raise requests.ConnectionError(f"{received} of {expected} bytes arrived")


def _starts_at(answer: Any, have: int) -> bool:
    return str(answer.headers.get("Content-Range", "")).startswith(f"bytes {have}-")


def _require_safe(asked: str, came: str) -> None:
    if asked.startswith("https://") and not came.startswith("https://"):
        raise BadInput(
            f"leads to {came}, which is not encrypted", file=asked, remedy="Name the right address."
        )


def _explain(url: str) -> Callable[[Exception], LidrError | None]:
    host = urlsplit(url).netloc

    def explain(error: Exception) -> LidrError | None:
        response = getattr(error, "response", None)
        status = response.status_code if response is not None else 0
        if status >= 500 or status in _PASSING:
            does = "asks for fewer requests" if status == 429 else "cannot do its work now"
            return Unavailable(
                f"{url}: {host} {does} (HTTP {status})", remedy="Run the same command again later."
            )
        if status:
            raise BadInput(
                f"{host} says HTTP {status}", file=url, remedy=_remedy(status)
            ) from error
        if isinstance(error, requests.exceptions.SSLError):
            raise BadInput(
                f"the certificate of {host} is not trusted ({error})",
                file=url,
                remedy="Name your authority's certificates in REQUESTS_CA_BUNDLE.",
            ) from error
        if isinstance(error, requests.RequestException):
            return Unavailable(
                f"{url}: {host} does not answer ({type(error).__name__})",
                remedy="See whether it works in a browser, and HTTPS_PROXY; then run again.",
            )
        return None

    return explain


def _remedy(status: int) -> str:
    if status in (401, 403):
        return "Put a login for the host into ~/.netrc, or name a source that may be read."
    return "Correct the address in the recipe."
