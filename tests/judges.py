"""A judge for tests: a chat completions server that decides as a script says."""

from __future__ import annotations

import contextlib
import json
import math
import re
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

Script = Callable[["Asked"], "Says"]


@dataclass(frozen=True)
class Asked:
    """A request: its body, and the texts of its blocks by name."""

    body: dict[str, Any]
    headers: Mapping[str, str] = field(default_factory=dict)

    @property
    def text(self) -> str:
        return self.body["messages"][-1]["content"]

    @property
    def nonce(self) -> str:
        return re.search(r"^\[user ([0-9a-f]{16})\]$", self.text, re.MULTILINE)[1]

    def block(self, name: str) -> str:
        start, end = (f"[{slash}{name} {self.nonce}]" for slash in ("", "/"))
        return self.text.partition(f"{start}\n")[2].partition(f"\n{end}")[0].replace("\u200b", "")


@dataclass(frozen=True)
class Says:
    """A reply: tokens with alternatives, or a status, after some seconds."""

    text: str = ""
    alternatives: Mapping[str, float] | None = None
    """Probabilities in the place of the last token, which is the verdict."""
    status: int = 200
    seconds: float = 0.0
    finish_reason: str = "stop"


def prefers(value: Callable[[str], float], *, weighted: bool = False) -> Script:
    """Return a judge that likes the answer with the larger value; of equals, the first."""

    def script(asked: Asked) -> Says:
        first, second = (value(asked.block(f"answer {label}")) for label in "AB")
        verdict = "A" if first >= second else "B"
        if not weighted:
            return Says(verdict)
        share = first / (first + second)
        return Says(verdict, {"A": share, "B": 1 - share})

    return script


class ScriptedJudge:
    """Serves a script on a port of its own and keeps what it was asked."""

    def __init__(self, script: Script) -> None:
        self.script = script
        self.asked: list[Asked] = []
        self.malformed = False
        self.lists = 200
        """Status of the list of models, by which clients see whether it is there."""
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), _handler(self))
        self._server.daemon_threads = True
        self.url = f"http://127.0.0.1:{self._server.server_port}/v1"
        threading.Thread(target=self._server.serve_forever, daemon=True).start()

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()


def _handler(judge: ScriptedJudge) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def log_message(self, *_):
            pass

        def do_GET(self):
            data = json.dumps({"object": "list", "data": []}).encode()
            self.send_response(judge.lists)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(data)))
            with contextlib.suppress(BrokenPipeError, ConnectionResetError):
                self.end_headers()
                self.wfile.write(data)

        def do_POST(self):
            body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            asked = Asked(body, {name.lower(): value for name, value in self.headers.items()})
            judge.asked.append(asked)
            says = judge.script(asked)
            time.sleep(says.seconds)
            data = json.dumps({} if judge.malformed else _answer(body, says)).encode()
            try:
                self.send_response(says.status)
                self.send_header("Content-Type", "application/json")
                self.send_header("Content-Length", str(len(data)))
                if says.status == 429:
                    self.send_header("Retry-After", "0.01")
                self.end_headers()
                self.wfile.write(data)
            except (BrokenPipeError, ConnectionResetError):
                pass  # the client has given up

    return Handler


def _answer(body: dict[str, Any], says: Says) -> dict[str, Any]:
    if says.status != 200:
        return {"error": {"message": "as the test wants it", "code": says.status}}
    logprobs = None
    if body.get("logprobs") and says.alternatives is not None:
        head, token = says.text[:-1], says.text[-1:]
        found = [_token(head, {})] if head else []
        logprobs = {"content": [*found, _token(token, says.alternatives)]}
    return {
        "id": "1",
        "object": "chat.completion",
        "created": 1,
        "model": body["model"],
        "choices": [
            {
                "index": 0,
                "message": {"role": "assistant", "content": says.text},
                "finish_reason": says.finish_reason,
                "logprobs": logprobs,
            }
        ],
        "usage": {"prompt_tokens": 100, "completion_tokens": 3, "total_tokens": 103},
    }


def _token(token: str, alternatives: Mapping[str, float]) -> dict[str, Any]:
    logs = {name: math.log(share) if share else -9999.0 for name, share in alternatives.items()}
    return {
        "token": token,
        "logprob": logs.get(token, -0.1),
        "bytes": None,
        "top_logprobs": [{"token": k, "logprob": v, "bytes": None} for k, v in logs.items()],
    }
