"""A server on this machine that answers by a function: what the APIs of the tests stand on."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

Answer = Callable[
    [BaseHTTPRequestHandler, bytes], tuple[int, Any] | tuple[int, Any, dict[str, str]]
]
"""Takes a request and its body; gives the status, text or what becomes JSON, and headers if any."""


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True  # 40 ms a request otherwise
    answer: Answer

    def _handle(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        code, answer, *more = type(self).answer(self, body)
        plain = isinstance(answer, str)
        data = (answer if plain else json.dumps(answer)).encode()
        kind = "text/html" if plain and answer.startswith("<") else "text/plain"
        self.send_response(code)
        self.send_header("Content-Type", kind if plain else "application/json")
        self.send_header("Content-Length", str(len(data)))
        for name, value in (more[0] if more else {}).items():
            self.send_header(name, value)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(data)

    do_HEAD = do_GET = do_POST = do_PATCH = do_DELETE = _handle  # noqa: N815

    def log_message(self, *args: object) -> None:
        """Keep the tests' output clean."""


@contextmanager
def serving(answer: Answer) -> Iterator[str]:
    """Start a server; yields its address."""
    handler = type("Handler", (_Handler,), {"answer": staticmethod(answer)})
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    server.daemon_threads = True
    thread = threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_address[1]}"
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
