"""Ways to Services of the cluster, through `kubectl port-forward`."""

from __future__ import annotations

import socket
import subprocess
import threading
import time


class Forward(threading.Thread):
    """Forwards a local port to a Service, and starts over whenever kubectl ends.

    Args:
        service: its name.
        namespace: it is in.
        port: its port.
        local: the port here.
    """

    def __init__(self, service: str, namespace: str, port: int, local: int) -> None:
        super().__init__(daemon=True)
        self._command = [
            *("kubectl", "port-forward", f"service/{service}", f"{local}:{port}"),
            f"--namespace={namespace}",
        ]
        self._local = local
        self._ended = threading.Event()
        self._process: subprocess.Popen[bytes] | None = None

    def run(self) -> None:
        """Keep kubectl running until `end`."""
        while not self._ended.is_set():
            self._process = subprocess.Popen(
                self._command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
            )
            self._process.wait()
            self._ended.wait(2)

    def opened(self, seconds: float = 30.0) -> bool:
        """Wait until the port is open; False where it does not open in time."""
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            try:
                socket.create_connection(("127.0.0.1", self._local), 2).close()
            except OSError:
                time.sleep(0.5)
            else:
                return True
        return False

    def end(self) -> None:
        """Stop forwarding."""
        self._ended.set()
        if self._process:
            self._process.terminate()


def free_port(wanted: int = 0) -> int:
    """Return a free port of this machine: the wanted one where nobody listens on it."""
    for port in (wanted, 0):
        with socket.socket() as probe:
            try:
                probe.bind(("127.0.0.1", port))
            except OSError:
                continue
            return int(probe.getsockname()[1])
    raise OSError("no free port")
