"""Training over two hosts: one dies, then the network does; the result is the same to the last bit.

Two nodes as Kubeflow Trainer starts them (static torchrun, described by PET_* variables), and a
loop that does what JobSet does: where a node fails, all are taken down and restarted.
"""

from __future__ import annotations

import socket
import subprocess
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from lidr.components.train.job import TrainingJob
from lidr.components.train.launch.exchange import TrainExchange, exchange_of
from lidr.components.train.launch.local import node_command
from tests.e2e.hosts import LoopbackHost, two_hosts
from tests.unit.train.distributed.programs import environment, job, rows, run

pytestmark = pytest.mark.slow

TIMEOUT = 10
"""Seconds that a rank waits for a silent one; in a cluster it is minutes."""

SETTINGS = {"zero": {"stage": 2}, "batch_size": 4, "epochs": 8, "machine": {"checkpoint_steps": 6}}
"""36 steps."""


class TwoHosts:
    """The nodes of a job on its hosts.

    Args:
        hosts: where.
        given: the job.
    """

    def __init__(self, hosts: list[LoopbackHost], given: dict[str, Any]) -> None:
        self.hosts = hosts
        self.store = Path(given["store"])
        self.checkpoints = self.store / given["stage"] / "checkpoints"
        self.log = self.store / "log"
        self.job = TrainingJob.model_validate(given)
        self.exchange: TrainExchange = exchange_of(self.job)
        self.exchange.publish(self.job)
        self._nodes: list[subprocess.Popen] = []

    def start(self) -> None:
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            port = str(free.getsockname()[1])
        _, *words = node_command(self.job.store, self.job.stage, 1)
        for number, host in enumerate(self.hosts):
            variables = environment(
                LIDR_RANKS_TIMEOUT=str(TIMEOUT),
                PET_NNODES="2",
                PET_NODE_RANK=str(number),
                PET_MASTER_ADDR=self.hosts[0].address,
                PET_MASTER_PORT=port,
                PET_LOCAL_ADDR=host.address,
            )
            self._nodes.append(host.start(words, variables, self.log))

    def newest(self) -> int:
        return max([0, *(int(path.parent.name) for path in self.checkpoints.glob("*/COMPLETE"))])

    def until(self, happened: Callable[[], bool], seconds: float) -> float:
        began = time.monotonic()
        while not happened():
            assert time.monotonic() - began < seconds, self.log.read_text()[-4000:]
            time.sleep(0.005)
        return time.monotonic() - began

    def codes(self) -> list[int | None]:
        return [node.poll() for node in self._nodes]

    def failed(self) -> bool:
        return any(code not in (None, 0) for code in self.codes())

    def finish(self) -> None:
        self.until(lambda: None not in self.codes(), 120)
        assert self.codes() == [0, 0], self.log.read_text()[-4000:]

    def restart(self) -> None:
        """What JobSet does: delete what is left of the ranks, start all of it."""
        for host in self.hosts:
            host.kill()
        for node in self._nodes:
            node.wait(10)
        self._nodes.clear()
        self.start()


def model_bytes(store: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in (store / "stages/train/abc/model").iterdir()}


def test_a_dead_host_and_a_dead_network_change_no_bit(
    tmp_path: Path, record_property: Callable[[str, object], None]
) -> None:
    expected, given = job(tmp_path / "calm", **SETTINGS), job(tmp_path / "storm", **SETTINGS)
    run(expected)
    with two_hosts() as hosts:
        storm = TwoHosts(hosts, given)
        storm.start()
        times = {}

        storm.until(lambda: storm.newest() > 0, 90)
        hosts[1].kill()
        times["peer_gone_after_kill"] = storm.until(lambda: storm.codes()[0] is not None, 60)
        reached = storm.newest()
        storm.restart()
        times["new_checkpoint_after_kill"] = storm.until(lambda: storm.newest() > reached, 90)

        hosts[1].unplug()
        times["noticed_partition"] = storm.until(storm.failed, TIMEOUT + 60)
        hosts[1].plug()
        reached = storm.newest()
        assert reached < 36
        assert storm.exchange.summary() is None
        storm.restart()
        storm.finish()
    for name, seconds in times.items():
        record_property(name, round(seconds, 1))
        print(f"{name}: {seconds:.1f} s")
    assert f"resumes from the checkpoint of step {reached}" in storm.log.read_text()
    assert len(rows(given)) == 36
    assert rows(given) == rows(expected)
    assert model_bytes(storm.store) == model_bytes(Path(expected["store"]))
