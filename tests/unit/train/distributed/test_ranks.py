from __future__ import annotations

import socket
import subprocess
import sys

import pytest

from lidr.components.train.distributed.ranks import Ranks
from tests.unit.train.distributed.programs import environment, torchrun

PROGRAM = "tests.unit.train.distributed.collectives"


def test_a_single_rank_returns_at_once():
    ranks = Ranks()
    assert ranks.broadcast("a") == "a"
    assert ranks.with_new_group().gather(1) == [1]
    # An error that is not one of ours propagates.
    with pytest.raises(ValueError, match="x"), ranks.sharing_errors():
        raise ValueError("x")


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
    command = [sys.executable, "-m", PROGRAM]
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
    said = alone(port)
    assert f"not all 2 ranks reached 127.0.0.1:{port} within 2 s" in said
    assert "every node has started" in said
