"""Downloads from web servers, checked against a digest, and resumed after an interruption.

`requests` reads HTTPS_PROXY, NO_PROXY, REQUESTS_CA_BUNDLE and ~/.netrc as usual; it does not send
a login to another host after a redirect.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from urllib.parse import urljoin, urlsplit

import requests

from lidr.components.shared.core.certificates import certificate_problem
from lidr.components.shared.core.digest import digest_of_file
from lidr.components.shared.core.errors import BadInput, LidrError, Unavailable
from lidr.components.shared.core.retry import retry

Advance = Callable[[int], None]
"""Progress callback; gets the number of bytes received since the last call."""

_TIMEOUT = (10.0, 60.0)
"""Seconds to connect, and between two chunks of a response."""

_PIECE_BYTES = 1 << 16
_TRANSIENT_STATUSES = (408, 425, 429)
"""HTTP statuses below 500 after which a request is repeated."""


def download(url: str, path: Path, sha256: str, advance: Advance = lambda _: None) -> None:
    """Download a file, or resume an interrupted download.

    Args:
        url: `https://`, which no redirect may leave, or `http://`.
        path: of the file, which appears only when it is complete; nobody else may download to it
            meanwhile.
        sha256: its digest.
        advance: called with the number of new bytes.

    Raises:
        BadInput: the server refuses, or sends another file than the recipe pins.
        Unavailable: the server failed for LIDR_RETRY_SECONDS and sent nothing new in that time.
    """
    if path.is_file() and digest_of_file(path) == sha256:  # left by a process that was killed
        return
    part = path.with_name(f"{path.name}.part")
    resumed, again = False, True
    while True:
        resumed = _receive_to_the_end(url, part, advance) or resumed
        if (actual := digest_of_file(part)) == sha256:
            part.replace(path)
            return
        part.unlink()
        if not (resumed and again):
            raise BadInput(
                f"has the SHA-256 {actual}, the recipe pins {sha256}",
                file=url,
                remedy="The file changed, or the pin is another file's: look at the file, then "
                "correct sha256 in the recipe.",
            )
        again = False  # what was resumed may be of another version: start over, once


def _receive_to_the_end(url: str, part: Path, advance: Advance) -> bool:
    """Complete a partial file, as long as each retry brings more of it: a download takes hours.

    Returns:
        Whether bytes of several requests are in it.
    """
    resumed: list[bool] = []
    while True:
        before = _size(part)

        def receive() -> None:
            resumed.append(_size(part) > 0)
            _receive(url, part, advance)

        try:
            retry(receive, urlsplit(url).netloc, _explain(url, part.parent), long=True)
            return any(resumed)
        except Unavailable:
            if _size(part) <= before:
                raise


def _size(part: Path) -> int:
    return part.stat().st_size if part.exists() else 0


def _receive(url: str, part: Path, advance: Advance) -> None:
    """Append what is missing to a partial file."""
    have = _size(part)
    headers = {"Range": f"bytes={have}-"} if have else {}
    with requests.get(
        url,
        headers={"Accept-Encoding": "identity", **headers},
        hooks={"response": _refuse_unencrypted},
        stream=True,
        timeout=_TIMEOUT,
    ) as answer:
        if answer.status_code == 416:  # nothing is missing, or the file has changed
            return
        answer.raise_for_status()
        sent_range = answer.headers.get("Content-Range", "")
        resumed = answer.status_code == 206 and sent_range.startswith(f"bytes {have}-")
        with part.open("ab" if resumed else "wb") as file:
            received = 0
            for piece in answer.iter_content(_PIECE_BYTES):
                file.write(piece)
                received += len(piece)
                advance(len(piece))
        expected = answer.headers.get("Content-Length", "")
        if expected.isdigit() and received < int(expected):
            raise requests.ConnectionError(f"{received} of {expected} bytes arrived")


def _refuse_unencrypted(answer: requests.Response, **_: object) -> None:
    """Refuse a redirect from https:// to http:// before it is followed: a login may go with it."""
    target = urljoin(answer.url, answer.headers.get("Location", ""))
    if answer.is_redirect and answer.url.startswith("https:") and not target.startswith("https:"):
        answer.close()
        raise BadInput(
            f"redirects to {target}, which is not encrypted",
            file=answer.url,
            remedy="Correct the address.",
        )


def _explain(url: str, folder: Path) -> Callable[[Exception], LidrError | None]:
    host = urlsplit(url).netloc

    def explain(error: Exception) -> LidrError | None:
        response = getattr(error, "response", None)
        status = response.status_code if response is not None else 0
        if status >= 500 or status in _TRANSIENT_STATUSES:
            does = "asks for fewer requests" if status == 429 else "cannot do its work now"
            return Unavailable(
                f"{url}: {host} {does} (HTTP {status})", remedy="Run the same command again later."
            )
        if status:
            raise BadInput(
                f"{host} says HTTP {status}", file=url, remedy=_remedy(status)
            ) from error
        certificate = certificate_problem(str(error), "REQUESTS_CA_BUNDLE")
        if certificate and isinstance(error, requests.exceptions.SSLError):
            raise BadInput(
                f"the certificate of {host} is not trusted ({certificate.cause})",
                file=url,
                remedy=certificate.remedy,
            ) from error
        if isinstance(error, requests.RequestException) and isinstance(error, ValueError):
            raise BadInput(
                f"cannot be asked for: {error}", file=url, remedy="Correct the address."
            ) from error
        if isinstance(error, requests.RequestException):
            return Unavailable(
                f"{url}: {host} does not answer ({type(error).__name__})",
                remedy="Check HTTPS_PROXY and whether the URL opens in a browser, then run again.",
            )
        if isinstance(error, OSError):  # no space left, or certificates that are not there
            raise BadInput(
                f"cannot be fetched here: {error}",
                file=url,
                remedy=f"Free space in {folder}, and check REQUESTS_CA_BUNDLE.",
            ) from error
        return None

    return explain


def _remedy(status: int) -> str:
    if status in (401, 403):
        return "Put a login for the host into ~/.netrc, or name a source that may be read."
    return "Correct the address."
