"""Hosts on this machine: a web server with ranges and redirects, and a model hub over it."""

from __future__ import annotations

import hashlib
import json
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread
from urllib.parse import unquote

REVISION = "b" * 40


class Host:
    """A web server.

    Attributes:
        files: content by path.
        redirects: path to another address.
        faults: what the next requests for content get: a status, or "truncated".
        sent: bytes of content that went out, by path.
        asked: paths, in order.
    """

    def __init__(self) -> None:
        self.files: dict[str, bytes] = {}
        self.redirects: dict[str, str] = {}
        self.faults: deque[int | str] = deque()
        self.sent: dict[str, int] = {}
        self.asked: list[str] = []
        self.logins: list[str] = []
        self.url = ""

    def add_repository(self, name: str, files: dict[str, bytes], *, kind: str = "dataset") -> None:
        """Put a repository of the model hub here, at `REVISION`."""
        part = "datasets/" if kind == "dataset" else ""
        for file, data in files.items():
            self.files[f"/{part}{name}/resolve/{REVISION}/{file}"] = data
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
        info = {"id": name, "sha": REVISION, "siblings": siblings, "tags": []}
        info["cardData"] = {"license": "mit"}
        for path in (f"/api/{part or 'models/'}{name}/revision/{REVISION}",):
            self.files[path] = json.dumps(info).encode()


class _Handler(BaseHTTPRequestHandler):
    host: Host
    protocol_version = "HTTP/1.1"

    def do_HEAD(self) -> None:
        self._answer(body=False)

    def do_GET(self) -> None:
        self._answer(body=True)

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
        headers = {"ETag": f'"{hashlib.sha256(data).hexdigest()}"', "X-Repo-Commit": REVISION}
        if wanted.startswith("bytes="):
            start = int(wanted.removeprefix("bytes=").partition("-")[0])
            if start >= len(data):
                return self._send(416, b"", {}, body=body)
            headers["Content-Range"] = f"bytes {start}-{len(data) - 1}/{len(data)}"
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
        self.wfile.write(data)
        path = unquote(self.path.partition("?")[0])
        self.host.sent[path] = self.host.sent.get(path, 0) + len(data) * (status < 300)


@contextmanager
def serving() -> Iterator[Host]:
    """Run a host on a free port."""
    host = Host()
    handler = type("Handler", (_Handler,), {"host": host})
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    server.daemon_threads = True
    Thread(target=server.serve_forever, daemon=True).start()
    host.url = f"http://127.0.0.1:{server.server_address[1]}"
    try:
        yield host
    finally:
        server.shutdown()
        server.server_close()
