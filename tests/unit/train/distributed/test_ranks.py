from __future__ import annotations

import os
import socket
import subprocess

import pytest
import torch
import torch.distributed as dist

from lidr.components.shared.core.errors import BadInput, LaunchFailed
from lidr.components.train.distributed.ranks import (
    Ranks,
    join_ranks,
    rendezvous_failure,
    rendezvous_timeout,
)
from tests.unit.train.distributed.programs import environment, torchrun
from tests.warm import python

PROGRAM = "tests.unit.train.distributed.collectives"


def test_a_single_rank_returns_at_once():
    ranks = Ranks()
    assert ranks.broadcast("a") == "a"
    assert ranks.with_new_group().gather(1) == [1]
    # An error that is not one of ours propagates.
    with pytest.raises(ValueError, match="x"), ranks.sharing_errors():
        raise ValueError("x")


def test_without_a_rank_there_is_only_this_one(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.delenv("RANK", raising=False)
    monkeypatch.setenv("WORLD_SIZE", "2")
    assert join_ranks().world_size == 1
    assert "WORLD_SIZE" not in os.environ, "accelerate and exit_without_cleanup read it, too"


@pytest.mark.parametrize(
    ("name", "collective"),
    [
        ("all_gather_object", lambda ranks: ranks.any(True)),
        ("all_reduce", lambda ranks: ranks.sum(torch.ones(1))),
        ("new_group", Ranks.with_new_group),
    ],
)
def test_a_lost_rank_is_named_as_the_cause(monkeypatch: pytest.MonkeyPatch, name, collective):
    def lost(*_: object, **__: object) -> None:
        raise dist.DistNetworkError("Connection closed by peer [::1]:5\nException raised from ...")

    monkeypatch.setattr(dist, name, lost)
    monkeypatch.setenv("LIDR_RANKS_TIMEOUT", "30")
    with pytest.raises(LaunchFailed) as raised:
        collective(Ranks(0, 2))
    assert raised.value.message == (
        "another rank did not answer within 30 s, or is gone (Connection closed by peer [::1]:5)"
    )
    assert "LIDR_RANKS_TIMEOUT" in raised.value.remedy


@pytest.mark.parametrize(
    ("given", "retry", "seconds"), [("", "900", 960), ("", "5", 600), ("2", "900", 2)]
)
def test_ranks_outwait_one_that_waits_for_a_service(
    monkeypatch: pytest.MonkeyPatch, given: str, retry: str, seconds: int
):
    monkeypatch.setenv("LIDR_RANKS_TIMEOUT", given)
    monkeypatch.setenv("LIDR_RETRY_SECONDS", retry)
    assert rendezvous_timeout().total_seconds() == seconds


def test_ranks_of_one_machine_that_cannot_connect_are_not_told_of_nodes(
    monkeypatch: pytest.MonkeyPatch,
):
    for name in ("MASTER_ADDR", "MASTER_PORT", "NNODES", "WORLD_SIZE"):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(f"PET_{name}", raising=False)
    monkeypatch.setenv("LIDR_RANKS_TIMEOUT", "5")
    failure = rendezvous_failure(RuntimeError("timed out\nmore"))
    assert failure.message == (
        "the ranks of this machine could not connect to each other within 5 s (timed out)"
    )
    assert "LIDR_RANKS_TIMEOUT" in failure.remedy and "node" not in failure.remedy
    taken = rendezvous_failure(RuntimeError("EADDRINUSE"))
    assert taken.message.startswith("the port, where the ranks connect, is taken")


def test_a_rank_s_own_error_outlives_the_loss_of_others(monkeypatch: pytest.MonkeyPatch):
    def lost(*_: object, **__: object) -> None:
        raise RuntimeError("Timed out waiting 30000ms for recv operation to complete")

    monkeypatch.setattr(dist, "all_gather_object", lost)
    with pytest.raises(BadInput, match="the pairs are empty"), Ranks(0, 2).sharing_errors():
        raise BadInput("the pairs are empty")


@pytest.mark.slow
def test_two_ranks_talk_and_fail_together():
    command = torchrun("--standalone", "--nproc-per-node", "2", "--module", PROGRAM)
    done = subprocess.run(
        command, env=environment(), capture_output=True, text=True, check=False, timeout=90
    )
    for rank in (0, 1):
        said = f"rank {rank}: p.parquet:3: the pairs are empty. Mend them."
        assert said in done.stdout, done.stdout + done.stderr
    assert "exitcode  : 2 " in done.stderr


def alone(port: int) -> str:
    """Start only rank 0 of 2; return what it says."""
    place = {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port)}
    ranks = {"RANK": "0", "LOCAL_RANK": "0", "WORLD_SIZE": "2", "LIDR_RANKS_TIMEOUT": "2"}
    command = [python(), "-m", PROGRAM]
    done = subprocess.run(
        command,
        env=environment(**place, **ranks),
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    assert done.returncode == 1, done.stderr
    return done.stdout


@pytest.mark.slow
def test_a_node_that_never_comes_and_a_port_that_is_taken():
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        port = taken.getsockname()[1]
        taken.listen()
        said = alone(port)
    assert f"the port of 127.0.0.1:{port}, where the ranks connect, is taken" in said
    assert "End the program that listens there" in said
    said = alone(port)
    assert f"not all 2 ranks reached 127.0.0.1:{port} within 2 s" in said
    assert "every node has started" in said
