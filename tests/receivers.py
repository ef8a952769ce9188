"""A chat's incoming webhook: a real HTTP server that keeps what it is told."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any


@dataclass
class Receiver:
    """What was received.

    Attributes:
        url: to post to.
        received: key and body of every request that came whole, in order.
        status: that is answered.
        before: called when a request has come, before it counts as received.
        after: called when it has been answered.
    """

    url: str = ""
    received: list[tuple[str, dict[str, Any]]] = field(default_factory=list)
    status: int = 200
    before: Callable[[], None] = lambda: None
    after: Callable[[], None] = lambda: None

    @property
    def texts(self) -> list[str]:
        """What was said, each key's first time alone, as a receiver of such keys takes it."""
        return [body["text"] for body in dict(reversed(self.received)).values()][::-1]


@contextmanager
def receiving() -> Iterator[Receiver]:
    """Serve a webhook as long as it is needed."""
    receiver = Receiver()

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            receiver.before()
            receiver.received.append((self.headers["Idempotency-Key"], body))
            self.send_response(receiver.status)
            self.send_header("Content-Length", "0")
            self.end_headers()
            self.wfile.flush()
            receiver.after()

        def log_message(self, *_: object) -> None:
            """Keep the tests' output clean."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    receiver.url = f"http://127.0.0.1:{server.server_port}/hooks/secret-part"
    try:
        yield receiver
    finally:
        server.shutdown()
        server.server_close()
