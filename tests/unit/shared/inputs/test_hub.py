"""The model hub on a server that fails: what is asked again, and what is not."""

from __future__ import annotations

import errno
import socket
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from types import SimpleNamespace

import pytest

from lidr.components.shared.core import retry
from lidr.components.shared.core.errors import BadInput, Unavailable
from lidr.components.shared.core.retry import RETRY_VARIABLE
from lidr.components.shared.inputs.hub import ask_hub
from lidr.components.shared.models.outside import fetch_model, resolve_model
from tests.json_server import serving

REVISION = "a" * 40
FILES = {"config.json": '{"model_type": "llama"}', "tokenizer.json": "{}"}


class Hub:
    """What the hub's client asks for, after a number of failures."""

    def __init__(self) -> None:
        self.failures = 0
        self.status = 503
        self.requests: list[str] = []

    def answer(self, request: BaseHTTPRequestHandler, _: bytes) -> tuple[int, object]:
        self.requests.append(request.path)
        if self.failures:
            self.failures -= 1
            return self.status, {"error": "no"}
        siblings = [{"rfilename": name} for name in FILES]
        return 200, {"id": "org/name", "sha": REVISION, "siblings": siblings}


@pytest.fixture
def hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Hub]:
    made = Hub()
    monkeypatch.setattr("huggingface_hub.utils._http.time.sleep", lambda seconds: None)
    monkeypatch.setattr(retry, "_MAX_PAUSE", 0.05)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path))
    with serving(made.answer) as url:
        monkeypatch.setattr("huggingface_hub.constants.ENDPOINT", url)
        monkeypatch.setenv("HF_ENDPOINT", url)
        yield made


@pytest.mark.parametrize("status", [500, 502, 503, 429, 408])
def test_a_hub_that_fails_for_a_while_is_asked_again(hub: Hub, status: int):
    hub.failures, hub.status = 8, status
    assert resolve_model("hf://org/name", unpinned=True).source == f"hf://org/name@{REVISION}"
    assert len(hub.requests) == 9


@pytest.mark.parametrize("status", [401, 403, 404])
def test_a_hub_that_refuses_is_not_asked_again(hub: Hub, status: int):
    hub.failures, hub.status = 100, status
    with pytest.raises(BadInput, match=r"hf://org/name cannot be looked up.*HF_TOKEN") as caught:
        resolve_model("hf://org/name", unpinned=True)
    assert not isinstance(caught.value, Unavailable)
    assert len(hub.requests) == 1


def test_a_hub_in_trouble_is_called_that(hub: Hub, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv(RETRY_VARIABLE, "0.2")
    hub.failures = 10**6
    for ask in (
        lambda: resolve_model("hf://org/name", unpinned=True),
        lambda: fetch_model(f"hf://org/name@{REVISION}"),
    ):
        with pytest.raises(Unavailable, match=r"answers with an error \(HTTP 503\)") as told:
            ask()
        assert "HF_TOKEN" not in str(told.value)


def test_a_hub_that_is_not_there_is_waited_for(hub: Hub, monkeypatch: pytest.MonkeyPatch):
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        monkeypatch.setattr(
            "huggingface_hub.constants.ENDPOINT", f"http://127.0.0.1:{probe.getsockname()[1]}"
        )
    monkeypatch.setenv(RETRY_VARIABLE, "0.3")
    began = time.monotonic()
    for ask in (
        lambda: resolve_model("hf://org/name", unpinned=True),
        lambda: fetch_model(f"hf://org/name@{REVISION}"),
    ):
        with pytest.raises(Unavailable, match="does not answer"):
            ask()
    assert time.monotonic() - began > 0.6


def test_what_is_no_answer_of_a_hub_is_a_bug_that_shows():
    def broken() -> None:
        raise KeyError("x")

    with pytest.raises(KeyError):
        ask_hub(broken, "x cannot be had", "Nothing.")


XET = "Task error: File reconstruction error: CAS Client Error: "


def asked(error: Exception, calls: list[None]) -> None:
    def fail() -> None:
        calls.append(None)
        raise error

    ask_hub(fail, "x cannot be downloaded")


@pytest.mark.parametrize(
    "text",
    [
        f"{XET}Request error: HTTP status server error (503 Service Unavailable), domain: h/404",
        f"{XET}Request error: HTTP status client error (429 Too Many Requests), domain: http://h",
        f"{XET}Request middleware error: error sending request for url (http://h)",
        "Data error: CAS Client Error: Connection refused (os error 111)",
        "Upload task error: the connection was reset",
        "Previous task error: the connection was reset",
        "Clean task error: the connection was reset",
        "Task Runtime Error: the connection was reset",
        "IO Error: connection reset by peer (os error 104)",
    ],
)
def test_a_transfer_that_fails_in_a_way_that_may_pass_is_repeated(text, monkeypatch):
    monkeypatch.setenv(RETRY_VARIABLE, "0.3")
    calls: list[None] = []
    with pytest.raises(Unavailable, match="does not send its files"):
        asked(RuntimeError(text), calls)
    assert len(calls) > 1


@pytest.mark.parametrize(
    ("error", "words"),
    [
        (RuntimeError(f"{XET}HTTP status client error (401 Unauthorized)"), "401.*HF_TOKEN"),
        (RuntimeError(f"{XET}HTTP status client error (403 Forbidden)"), "403.*HF_TOKEN"),
        (RuntimeError(f"{XET}HTTP status client error (404 Not Found)"), "404.*HF_TOKEN"),
        (RuntimeError("Task error: No space left on device (os error 28)"), "disk is full.*Free"),
        (OSError(errno.ENOSPC, "No space left on device"), "disk is full.*Free space"),
        (OSError(errno.EDQUOT, "Disk quota exceeded"), "disk is full.*Free space"),
        (RuntimeError("Task error: denied (os error 13)"), "denied.*Set HF_HOME"),
        (RuntimeError("IO Error: No space left on device (os error 28)"), "disk is full.*Free"),
        (RuntimeError("Upload task error: client error (403 Forbidden)"), "403.*HF_TOKEN"),
        (PermissionError(errno.EACCES, "denied", "/models"), "/models.*Set HF_HOME"),
        (PermissionError(errno.EPERM, "not permitted"), "Set HF_HOME"),
        (OSError(errno.EROFS, "Read-only file system"), "Set HF_HOME"),
        (PermissionError("hf_xet's: no token"), "no token.*HF_TOKEN"),
    ],
)
def test_a_download_that_cannot_succeed_is_not_repeated(error, words):
    calls: list[None] = []
    with pytest.raises(BadInput, match=words) as caught:
        asked(error, calls)
    assert not isinstance(caught.value, Unavailable)
    assert len(calls) == 1


def test_a_file_of_the_wrong_size_is_downloaded_again(monkeypatch):
    monkeypatch.setenv(RETRY_VARIABLE, "0.3")
    calls: list[None] = []
    text = "Consistency check failed: file should be of size 9 but has size 7 (model.safetensors)."
    with pytest.raises(Unavailable, match="sends a file of the wrong size") as caught:
        asked(OSError(text), calls)
    assert len(calls) > 1
    assert "HF_TOKEN" not in str(caught.value)


class HTTPError(Exception):
    """As the HTTP library of huggingface_hub raises it."""

    def __init__(self, status: int) -> None:
        super().__init__(f"Client error '{status}' for url 'https://s3/?X-Amz-Signature=abc'")
        self.response = SimpleNamespace(status_code=status)


def uploading(cause: Exception) -> Exception:
    error = RuntimeError("Error while uploading 'model.safetensors' to the Hub.")
    error.__cause__ = cause
    return error


def test_an_upload_that_is_refused_says_why_and_is_not_repeated():
    calls: list[None] = []
    words = r"uploading 'model.safetensors' to the Hub. Client error '403'.*HF_TOKEN"
    with pytest.raises(BadInput, match=words) as caught:
        asked(uploading(HTTPError(403)), calls)
    assert not isinstance(caught.value, Unavailable)
    assert len(calls) == 1
    assert "abc" not in str(caught.value), "the address is signed"


def test_an_upload_that_the_hub_cannot_take_now_is_repeated(monkeypatch):
    monkeypatch.setenv(RETRY_VARIABLE, "0.3")
    calls: list[None] = []
    with pytest.raises(Unavailable, match="HTTP 503"):
        asked(uploading(HTTPError(503)), calls)
    assert len(calls) > 1


def test_an_address_that_is_none_is_named(hub: Hub, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("huggingface_hub.constants.ENDPOINT", "http://hub:port")
    monkeypatch.setenv("HF_ENDPOINT", "http://hub:port")
    for ask in (
        lambda: resolve_model("hf://org/name", unpinned=True),
        lambda: fetch_model(f"hf://org/name@{REVISION}"),
    ):
        with pytest.raises(BadInput, match=r"http://hub:port.*HF_ENDPOINT"):
            ask()


def test_other_runtime_errors_are_bugs_that_show():
    with pytest.raises(RuntimeError, match="mine"):
        asked(RuntimeError("mine"), [])
