"""A proxy before a real server that fails as networks and servers do, from a seeded plan."""

from __future__ import annotations

import http.client
import random
import socket
import threading
import time
from collections import Counter
from collections.abc import Callable, Collection, Sequence
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import urlsplit

FAULTS = ("500", "503", "reset", "lost answer", "truncated", "slow")

STALE, STALL = "stale listing", "stall"
"""Further faults: the answer to an earlier listing; none for longer than a client waits."""

_STALL_SECONDS = 65.0


class FaultyProxy:
    """Forwards requests to `endpoint`; `rate` of them meet with one of the faults.

    Unless `in_a_row`, a fault is never met twice in a row for the same object, so that a client
    with patience arrives.
    """

    def __init__(self, endpoint: str, faults: Sequence[str] = FAULTS, rate: float = 0.4) -> None:
        self.met: Counter[str] = Counter()
        self.refuses: Callable[[str, str], bool] = lambda method, path: False
        """Which requests are answered with 403, as a policy of the server does."""
        self.ignores: Collection[str] = ()
        """Names of headers, in lower case, that the server knows nothing of."""
        self.outage: tuple[int, str] | None = None
        """Status and S3's code with which every request is answered meanwhile."""
        self.in_a_row = False
        self.stall_seconds = _STALL_SECONDS
        self.faults = faults
        self.rate = rate
        self.stalls = 1
        self._listings: dict[str, tuple[int, dict[str, str], bytes]] = {}
        self._rng = random.Random(7)
        self._last: dict[str, str] = {}
        self._lock = threading.Lock()
        self._server = _Quiet(("127.0.0.1", 0), _handler(self, endpoint))
        self.endpoint = f"http://127.0.0.1:{self._server.server_port}"
        threading.Thread(target=self._server.serve_forever, daemon=True).start()

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()

    def fault(self, method: str, path: str, has_body: bool) -> str:
        """Return the fault that this request meets, or ""."""
        with self._lock:
            wanted = self._rng.choice(self.faults) if self._rng.random() < self.rate else ""
            if wanted == "truncated" and (method != "GET" or not has_body):
                wanted = ""
            if wanted == STALE and path not in self._listings:
                wanted = ""
            if wanted == STALL and not self.stalls:
                wanted = ""
            if self._last.get(path) and not self.in_a_row:
                wanted = ""
            self.stalls -= wanted == STALL
            self._last[path] = wanted
            if wanted:
                self.met[wanted] += 1
            return wanted

    def listing(
        self, path: str, stale: bool, answer: tuple[int, dict[str, str], bytes]
    ) -> tuple[int, dict[str, str], bytes]:
        """Return the answer to a listing, or the one before it."""
        with self._lock:
            before = self._listings.get(path, answer)
            self._listings[path] = answer
        return before if stale else answer


class _Quiet(ThreadingHTTPServer):
    """Says nothing of clients that are gone."""

    daemon_threads = True

    def handle_error(self, *_):
        pass


def _handler(proxy: FaultyProxy, endpoint: str) -> type[BaseHTTPRequestHandler]:
    host = urlsplit(endpoint).netloc

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def log_message(self, *_):
            pass

        def handle_any(self) -> None:
            body = self._body()
            fault = proxy.fault(self.command, self.path, has_body=True)
            if proxy.refuses(self.command, self.path):
                self._answer(403, {}, b"<Error><Code>AccessDenied</Code></Error>")
                return
            if proxy.outage:
                status, code = proxy.outage
                self._answer(status, {}, f"<Error><Code>{code}</Code></Error>".encode())
                return
            if fault in ("429", "500", "503"):
                self._answer(int(fault), {}, b"<Error><Code>InternalError</Code></Error>")
                return
            if fault == "reset":
                self._cut()
                return
            if fault == STALL:
                time.sleep(proxy.stall_seconds)
            status, headers, data = self._forward(body)
            if self.command == "GET" and "list-type=2" in self.path:
                answer = proxy.listing(self.path, fault == STALE, (status, headers, data))
                status, headers, data = answer
            if fault == "lost answer":  # the server has done it, the client never hears
                self._cut()
            elif fault == "truncated":
                self._answer(status, headers, data, keep=len(data) // 2)
                self._cut()
            else:
                time.sleep(0.3 if fault == "slow" else 0)
                self._answer(status, headers, data)

        do_GET = do_PUT = do_HEAD = do_DELETE = do_POST = handle_any  # noqa: N815

        def _body(self) -> bytes:
            if self.headers.get("Expect") == "100-continue":
                self.send_response_only(100)
                self.end_headers()
            if "chunked" in self.headers.get("Transfer-Encoding", ""):
                parts = []
                while size := int(self.rfile.readline().split(b";")[0], 16):
                    parts.append(self.rfile.read(size))
                    self.rfile.readline()
                while self.rfile.readline().strip():
                    pass
                return b"".join(parts)
            return self.rfile.read(int(self.headers.get("Content-Length", 0)))

        def _forward(self, body: bytes) -> tuple[int, dict[str, str], bytes]:
            connection = http.client.HTTPConnection(host, timeout=30)
            skipped = ("transfer-encoding", "expect", "connection", "content-length")
            skipped += tuple(proxy.ignores)
            headers = {k: v for k, v in self.headers.items() if k.lower() not in skipped}
            headers["Content-Length"] = str(len(body))
            connection.request(self.command, self.path, body, headers)
            answer = connection.getresponse()
            data = answer.read()
            connection.close()
            return answer.status, dict(answer.getheaders()), data

        def _answer(
            self, status: int, headers: dict[str, str], data: bytes, keep: int | None = None
        ) -> None:
            self.send_response_only(status)
            skipped = ("transfer-encoding", "connection", "content-length")
            for name, value in headers.items():
                if name.lower() not in skipped:
                    self.send_header(name, value)
            length = headers.get("Content-Length") if self.command == "HEAD" else None
            self.send_header("Content-Length", length or str(len(data)))
            self.end_headers()
            self.wfile.write(data if keep is None else data[:keep])
            self.wfile.flush()

        def _cut(self) -> None:
            self.close_connection = True
            self.connection.setsockopt(
                socket.SOL_SOCKET, socket.SO_LINGER, b"\x01\0\0\0\0\0\0\0"
            )  # close with a reset
            self.connection.close()

    return Handler
