"""Hosts on this machine: a web server with ranges and redirects, and a model hub over it."""

from __future__ import annotations

import hashlib
import json
import ssl
import time
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread
from urllib.parse import unquote

REVISION = "b" * 40

_PIECE_BYTES = 1 << 16


class Host:
    """A web server.

    Attributes:
        files: content by path.
        redirects: path to another address.
        faults: what the next requests for content get: a status, or "truncated".
        sent: bytes of content that went out, by path.
        pause: seconds after each piece of content.
        asked: paths, in order.
        starts: path, and byte from which content went out, in order.
    """

    def __init__(self) -> None:
        self.files: dict[str, bytes] = {}
        self.redirects: dict[str, str] = {}
        self.faults: deque[int | str] = deque()
        self.sent: dict[str, int] = {}
        self.asked: list[str] = []
        self.starts: list[tuple[str, int]] = []
        self.logins: list[str] = []
        self.pause = 0.0
        self.url = ""

    def add_repository(
        self,
        name: str,
        files: dict[str, bytes],
        *,
        kind: str = "dataset",
        revision: str = REVISION,
    ) -> None:
        """Put a repository of the model hub here, at one revision."""
        part = "datasets/" if kind == "dataset" else ""
        for file, data in files.items():
            self.files[f"/{part}{name}/resolve/{revision}/{file}"] = data
        siblings = [
            {
                "rfilename": file,
                "size": len(data),
                "lfs": {
                    "sha256": hashlib.sha256(data).hexdigest(),
                    "size": len(data),
                    "pointerSize": 100,
                },
            }
            for file, data in files.items()
        ]
        info = {"id": name, "sha": revision, "siblings": siblings, "tags": []}
        info["cardData"] = {"license": "mit"}
        self.files[f"/api/{part or 'models/'}{name}/revision/{revision}"] = json.dumps(
            info
        ).encode()


class _Handler(BaseHTTPRequestHandler):
    host: Host
    protocol_version = "HTTP/1.1"

    def do_HEAD(self) -> None:
        self._answer(body=False)

    def do_GET(self) -> None:
        self._answer(body=True)

    def handle(self) -> None:
        with suppress(ConnectionError):  # the client was killed
            super().handle()

    def log_message(self, *_: object) -> None:
        pass

    def _answer(self, *, body: bool) -> None:
        host, path = self.host, unquote(self.path.partition("?")[0])
        host.asked.append(path)
        host.logins += [self.headers["Authorization"]] if self.headers["Authorization"] else []
        if path in host.redirects:
            return self._send(302, b"", {"Location": host.redirects[path]}, body=body)
        fault = host.faults.popleft() if host.faults and body else None
        if isinstance(fault, int):
            return self._send(fault, b"no", {}, body=body)
        if path not in host.files:
            return self._send(404, b"no", {"X-Error-Code": "EntryNotFound"}, body=body)
        return self._file(path, fault, body=body)

    def _file(self, path: str, fault: str | None, *, body: bool) -> None:
        data, start = self.host.files[path], 0
        wanted = self.headers.get("Range", "")
        commit = path.partition("/resolve/")[2].partition("/")[0]
        headers = {"ETag": f'"{hashlib.sha256(data).hexdigest()}"', "X-Repo-Commit": commit}
        if wanted.startswith("bytes="):
            start = int(wanted.removeprefix("bytes=").partition("-")[0])
            if start >= len(data):
                return self._send(416, b"", {}, body=body)
            headers["Content-Range"] = f"bytes {start}-{len(data) - 1}/{len(data)}"
        if body:
            self.host.starts.append((path, start))
        return self._send(206 if start else 200, data[start:], headers, body=body, cut=fault)

    def _send(
        self,
        status: int,
        data: bytes,
        headers: dict[str, str],
        *,
        body: bool,
        cut: str | None = None,
    ) -> None:
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        if not body:
            return
        if cut:
            data = data[: len(data) // 2]
            self.close_connection = True
        path, sent = unquote(self.path.partition("?")[0]), self.host.sent
        with suppress(ConnectionError):  # its reader was killed
            for start in range(0, len(data), _PIECE_BYTES):
                piece = data[start : start + _PIECE_BYTES]
                sent[path] = sent.get(path, 0) + len(piece) * (status < 300)
                self.wfile.write(piece)
                time.sleep(self.host.pause)


@contextmanager
def serving(tls: ssl.SSLContext | None = None) -> Iterator[Host]:
    """Run a host on a free port, encrypted if a certificate is given."""
    host = Host()
    handler = type("Handler", (_Handler,), {"host": host})
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    server.daemon_threads = True
    if tls:
        server.socket = tls.wrap_socket(server.socket, server_side=True)
    Thread(target=server.serve_forever, daemon=True).start()
    host.url = f"http{'s' * bool(tls)}://127.0.0.1:{server.server_address[1]}"
    try:
        yield host
    finally:
        server.shutdown()
        server.server_close()
