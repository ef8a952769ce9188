"""Training over two hosts: one dies, then the network does; the result is the same to the last bit.

Two static torchrun agents, as Kubeflow Trainer starts them, and a loop that does what JobSet does:
where an agent fails, everything is taken down and started anew.
"""

from __future__ import annotations

import json
import socket
import subprocess
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.e2e.hosts import LoopbackHost, two_hosts
from tests.unit.train.gangs import environment, job, rows, torchrun

pytestmark = pytest.mark.slow

PATIENCE = 10
"""Seconds that a rank waits for a silent one; in a cluster it is minutes."""

SETTINGS = {"zero": {"stage": 2}, "batch_size": 4, "epochs": 8, "checkpoint_steps": 6}
"""36 steps."""


class Gang:
    """The agents of a job on its hosts.

    Args:
        hosts: where.
        given: the job.
    """

    def __init__(self, hosts: list[LoopbackHost], given: dict[str, Any]) -> None:
        self.hosts = hosts
        self.store = Path(given["store"])
        self.checkpoints = self.store / given["stage"] / "checkpoints"
        self.log = self.store / "log"
        (self.store / "job.json").write_text(json.dumps(given))
        self._agents: list[subprocess.Popen] = []

    def start(self) -> None:
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            port = str(free.getsockname()[1])
        place = ("--master-addr", self.hosts[0].address, "--master-port", port)
        files = (str(self.store / "job.json"), str(self.store / "summary.json"))
        for number, host in enumerate(self.hosts):
            flags = ("--nnodes", "2", "--node-rank", str(number), "--nproc-per-node", "1", *place)
            program = ("--local-addr", host.address, "--module", "components.train.trainer")
            variables = environment(LIDR_GANG_TIMEOUT=str(PATIENCE))
            self._agents.append(host.start(torchrun(*flags, *program, *files), variables, self.log))

    def newest(self) -> int:
        return max([0, *(int(path.parent.name) for path in self.checkpoints.glob("*/COMPLETE"))])

    def until(self, happened: Callable[[], bool], seconds: float) -> float:
        began = time.monotonic()
        while not happened():
            assert time.monotonic() - began < seconds, self.log.read_text()[-4000:]
            time.sleep(0.005)
        return time.monotonic() - began

    def codes(self) -> list[int | None]:
        return [agent.poll() for agent in self._agents]

    def failed(self) -> bool:
        return any(code not in (None, 0) for code in self.codes())

    def finish(self) -> None:
        self.until(lambda: None not in self.codes(), 120)
        assert self.codes() == [0, 0], self.log.read_text()[-4000:]

    def restart(self) -> None:
        """What JobSet does: delete what is left of the gang, start all of it."""
        for host in self.hosts:
            host.kill()
        for agent in self._agents:
            agent.wait(10)
        self._agents.clear()
        self.start()


def model_bytes(store: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in (store / "stages/train/abc/model").iterdir()}


def test_a_dead_host_and_a_dead_network_change_no_bit(
    tmp_path: Path, record_property: Callable[[str, object], None]
) -> None:
    expected, given = job(tmp_path / "calm", **SETTINGS), job(tmp_path / "storm", **SETTINGS)
    with two_hosts() as hosts:
        calm = Gang(hosts, expected)
        calm.start()
        calm.finish()
        storm = Gang(hosts, given)
        storm.start()
        times = {}

        storm.until(lambda: storm.newest() > 0, 90)
        hosts[1].kill()
        times["peer_gone_after_kill"] = storm.until(lambda: storm.codes()[0] is not None, 60)
        reached = storm.newest()
        storm.restart()
        times["new_checkpoint_after_kill"] = storm.until(lambda: storm.newest() > reached, 90)

        hosts[1].unplug()
        times["noticed_partition"] = storm.until(storm.failed, PATIENCE + 60)
        hosts[1].plug()
        reached = storm.newest()
        assert reached < 36
        assert not (storm.store / "summary.json").exists()
        storm.restart()
        storm.finish()
    for name, seconds in times.items():
        record_property(name, round(seconds, 1))
        print(f"{name}: {seconds:.1f} s")
    assert f"goes on from the checkpoint of step {reached}" in storm.log.read_text()
    assert len(rows(given)) == 36
    assert rows(given) == rows(expected)
    assert model_bytes(storm.store) == model_bytes(calm.store)
