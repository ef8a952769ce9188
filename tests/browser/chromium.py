"""A headless Chromium, driven through DevTools messages on a pipe: no driver, no dependency."""

from __future__ import annotations

import base64
import json
import os
import select
import shutil
import subprocess
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

_FLAGS = (
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--disable-quic",
    "--disable-dev-shm-usage",
    "--remote-debugging-pipe",
)

_PATIENCE = 60.0


def find_chromium() -> str | None:
    """Return the browser's path, or None where there is none."""
    names = ("chromium", "chromium-browser", "google-chrome")
    return next((found for name in names if (found := shutil.which(name))), None)


class Chromium:
    """One browser with one page.

    Attributes:
        events: every DevTools event so far, as (method, parameters).

    Args:
        binary: path of the browser.
        profile: an empty folder for its user data.
    """

    def __init__(self, binary: str, profile: Path) -> None:
        to_browser, self._writer = os.pipe()
        self._reader, from_browser = os.pipe()
        script = f'exec "$0" "$@" 3<&{to_browser} 4>&{from_browser} 2>/dev/null'
        self._process = subprocess.Popen(
            ["bash", "-c", script, binary, *_FLAGS, f"--user-data-dir={profile}"],
            pass_fds=(to_browser, from_browser),
        )
        os.close(to_browser)
        os.close(from_browser)
        self._number = 0
        self._buffer = b""
        self._session = ""
        self.events: list[tuple[str, dict[str, Any]]] = []
        target = self.call("Target.createTarget", url="about:blank")["targetId"]
        attached = self.call("Target.attachToTarget", targetId=target, flatten=True)
        self._session = attached["sessionId"]
        for domain in ("Page", "Runtime", "Log", "Network"):
            self.call(f"{domain}.enable")

    def __enter__(self) -> Chromium:
        return self

    def __exit__(self, *_: object) -> None:
        self._session = ""
        self.call("Browser.close")
        self._process.wait(timeout=_PATIENCE)
        os.close(self._writer)
        os.close(self._reader)

    def open(self, url: str, *, width: int = 1280, height: int = 900, dark: bool = False) -> None:
        """Load a page in a window of a size, in light or dark mode, and forget older events."""
        self.call(
            "Emulation.setDeviceMetricsOverride",
            width=width,
            height=height,
            deviceScaleFactor=1,
            mobile=width < 600,
        )
        scheme = {"name": "prefers-color-scheme", "value": "dark" if dark else "light"}
        self.call("Emulation.setEmulatedMedia", features=[scheme])
        self.events.clear()
        self.call("Page.navigate", url=url)
        self._until(lambda: any(method == "Page.loadEventFired" for method, _ in self.events))

    def evaluate(self, expression: str) -> Any:
        """Return the JSON value of a JavaScript expression, run beside the page's own policy."""
        answer = self.call("Runtime.evaluate", expression=expression, returnByValue=True)
        if "exceptionDetails" in answer:
            raise AssertionError(answer["exceptionDetails"])
        return answer["result"].get("value")

    def screenshot(self, path: Path, *, whole: bool = True) -> None:
        """Write a PNG of the page, or of the part in the window."""
        answer = self.call("Page.captureScreenshot", captureBeyondViewport=whole)
        path.write_bytes(base64.b64decode(answer["data"]))

    def requests(self) -> list[str]:
        """Return the URLs the page asked for since it was opened."""
        return [
            parameters["request"]["url"]
            for method, parameters in self.events
            if method == "Network.requestWillBeSent"
        ]

    def complaints(self) -> list[str]:
        """Return console errors, uncaught exceptions and policy violations."""
        return [
            f"{method}: {json.dumps(parameters)}"
            for method, parameters in self.events
            if method in ("Runtime.exceptionThrown", "Runtime.consoleAPICalled", "Log.entryAdded")
        ]

    def call(self, method: str, **parameters: object) -> dict[str, Any]:
        """Send one DevTools command and return its result."""
        self._number += 1
        message = {"id": self._number, "method": method, "params": parameters}
        if self._session:
            message["sessionId"] = self._session
        os.write(self._writer, json.dumps(message).encode() + b"\0")
        answers: list[dict[str, Any]] = []
        number = self._number
        self._until(
            lambda: bool(answers), lambda m: answers.append(m) if m["id"] == number else None
        )
        if "error" in answers[0]:
            raise AssertionError(f"{method}: {answers[0]['error']}")
        result: dict[str, Any] = answers[0]["result"]
        return result

    def _until(
        self, reached: Callable[[], bool], answered: Callable[[dict[str, Any]], object] = id
    ) -> None:
        """Read messages until a condition holds."""
        deadline = time.monotonic() + _PATIENCE
        while not reached():
            while b"\0" not in self._buffer:
                if not select.select([self._reader], [], [], deadline - time.monotonic())[0]:
                    raise TimeoutError("Chromium does not answer")
                self._buffer += os.read(self._reader, 1 << 20)
            line, _, self._buffer = self._buffer.partition(b"\0")
            message = json.loads(line)
            if "id" in message:
                answered(message)
            else:
                self.events.append((message["method"], message.get("params", {})))
