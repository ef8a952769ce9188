"""Two hosts on one machine: network namespaces joined by a cable, or two loopback addresses."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tests import warm


def namespaces_work() -> bool:
    """Tell whether this user may make network namespaces and cables between them."""
    if os.geteuid() != 0:
        return False
    name = f"lidr-probe-{os.getpid()}"
    try:
        made = _ip("netns", "add", name, check=False)
        cable = _ip("link", "add", "lp0", "type", "veth", "peer", "name", "lp1", check=False)
    except FileNotFoundError:
        return False
    _ip("link", "del", "lp0", check=False)
    _ip("netns", "del", name, check=False)
    return made.returncode == cable.returncode == 0


class LoopbackHost:
    """An address on the loopback device; cutting it off means freezing its processes.

    They are found by their environment, which a fork of `tests.warm` does not show.
    """

    interface = "lo"
    python = staticmethod(lambda: sys.executable)

    def __init__(self, number: int, mark: str) -> None:
        self.address = f"127.0.0.{number + 1}"
        self._mark = f"LIDR_TEST_HOST={mark}-{number}".encode()

    def start(self, words: list[str], environment: dict[str, str], log: Path) -> subprocess.Popen:
        """Run what words after `python` say on the host."""
        with log.open("ab") as output:
            return subprocess.Popen(
                self._inside([self.python(), *words]),
                env={
                    **environment,
                    "GLOO_SOCKET_IFNAME": self.interface,
                    "LIDR_TEST_HOST": self._mark.decode().split("=")[1],
                },
                stdout=output,
                stderr=subprocess.STDOUT,
            )

    def kill(self) -> None:
        """End all of its processes at once, as a power cut would."""
        self._signal(signal.SIGKILL)

    def unplug(self) -> None:
        """Cut it off from the other host."""
        self._signal(signal.SIGSTOP)

    def plug(self) -> None:
        """Undo unplug."""
        self._signal(signal.SIGCONT)

    def _inside(self, command: list[str]) -> list[str]:
        return command

    def _signal(self, number: signal.Signals) -> None:
        for pid in self._pids():
            try:
                os.kill(pid, number)
            except ProcessLookupError:
                continue

    def _pids(self) -> list[int]:
        """Workers leave their agent's process group, but they keep its environment."""
        found = []
        for folder in Path("/proc").glob("[0-9]*"):
            try:
                if self._mark in (folder / "environ").read_bytes().split(b"\0"):
                    found.append(int(folder.name))
            except (FileNotFoundError, PermissionError, ProcessLookupError):
                continue
        return found


class NamespaceHost(LoopbackHost):
    """A network namespace with an address of its own; cutting it off means unplugging its cable."""

    interface = "eth0"
    python = staticmethod(warm.python)

    def __init__(self, number: int, mark: str) -> None:
        super().__init__(number, mark)
        self.address = f"10.77.0.{number + 1}"
        self.name = f"lidr-{mark}-{number}"

    def unplug(self) -> None:
        self._link("down")

    def plug(self) -> None:
        self._link("up")

    def _link(self, state: str) -> None:
        _ip("-n", self.name, "link", "set", self.interface, state)

    def _inside(self, command: list[str]) -> list[str]:
        return ["ip", "netns", "exec", self.name, *command]

    def _pids(self) -> list[int]:
        return [int(pid) for pid in _ip("netns", "pids", self.name).stdout.split()]


@contextmanager
def two_hosts() -> Iterator[list[LoopbackHost]]:
    """Give two hosts that reach each other; nothing of them is left afterwards."""
    mark = str(os.getpid())
    if not namespaces_work():
        hosts: list[LoopbackHost] = [LoopbackHost(number, mark) for number in (0, 1)]
        try:
            yield hosts
        finally:
            for host in hosts:
                host.kill()
        return
    named = [NamespaceHost(number, mark) for number in (0, 1)]
    try:
        for host in named:
            _ip("netns", "add", host.name)
        ends = [("netns", host.name) for host in named]
        cable = ("link", "add", "eth0", *ends[0], "type", "veth", "peer", "name", "eth0", *ends[1])
        _ip(*cable)
        for host in named:
            _ip("-n", host.name, "addr", "add", f"{host.address}/24", "dev", "eth0")
            _ip("-n", host.name, "link", "set", "lo", "up")
            host.plug()
        yield list(named)
    finally:
        for host in named:
            host.kill()
            _ip("netns", "del", host.name, check=False)


def _ip(*arguments: str, check: bool = True) -> subprocess.CompletedProcess[bytes]:
    return subprocess.run(["ip", *arguments], check=check, capture_output=True)
