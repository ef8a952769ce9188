"""The lease: one holder at a time, also where holders die, stop or meet."""

from __future__ import annotations

import signal
import subprocess
import sys
import time

import pytest

from lidr.components.shared.core.errors import LidrError, StoreError
from lidr.components.shared.core.events import listening
from lidr.components.shared.store.lease import exclusive
from lidr.components.shared.store.local import LocalStore
from tests.unit.shared.registry.models import together


@pytest.fixture
def store(tmp_path) -> LocalStore:
    return LocalStore(tmp_path / "trail")


def test_many_hold_it_one_after_another(store):
    inside: list[int] = []
    most: list[int] = []

    def hold(number: int) -> int:
        with exclusive(store) as lease:
            inside.append(number)
            most.append(len(inside))
            time.sleep(0.005)
            inside.remove(number)
            return lease.number

    numbers = together(12, hold) + [hold(number) for number in range(25)]
    assert max(most) == 1
    assert sorted(numbers) == list(range(1, 38))
    assert len(store.list("lease")) <= 42


def test_who_dies_keeps_others_out_until_the_lease_has_run_out(store):
    code = (
        "import sys, time\n"
        "from pathlib import Path\n"
        "from lidr.components.shared.store.lease import exclusive\n"
        "from lidr.components.shared.store.local import LocalStore\n"
        "with exclusive(LocalStore(Path(sys.argv[1])), seconds=1):\n"
        "    print('held', flush=True)\n"
        "    time.sleep(60)\n"
    )
    holder = subprocess.Popen(
        [sys.executable, "-c", code, store.uri], stdout=subprocess.PIPE, text=True
    )
    assert holder.stdout.readline() == "held\n"
    with pytest.raises(LidrError, match="is held by"), exclusive(store, timeout=1.6):
        pass  # longer than the lease: it is being renewed
    holder.send_signal(signal.SIGKILL)
    holder.communicate()
    began = time.monotonic()
    with exclusive(store) as lease:
        assert lease.number == 2
        assert time.monotonic() - began < 6


def test_a_wait_for_the_lease_is_reported(store, monkeypatch):
    monkeypatch.setattr("lidr.components.shared.core.retry.REPORT_SECONDS", 0.1)
    heard: list[dict[str, object]] = []
    with (
        exclusive(store, seconds=60),
        listening(heard.append),
        pytest.raises(LidrError, match="is held by"),
        exclusive(store, timeout=0.4),
    ):
        pass
    assert f"others have the lease at {store.uri}" in str(heard[0]["message"])


def test_who_cannot_renew_it_does_not_go_on(store, monkeypatch):
    def refuses(*_: object) -> None:
        raise StoreError("the store is full")

    with exclusive(store, seconds=1.5) as lease:
        lease.require()
        monkeypatch.setattr(store, "write", refuses)
        time.sleep(1.6)
        with pytest.raises(LidrError, match="could not be renewed in time"):
            lease.require()


def test_a_number_that_was_used_and_cleared_away_is_not_taken_again(store, monkeypatch):
    for _ in range(25):
        with exclusive(store):
            pass
    keys = {entry.key for entry in store.list("lease")}
    assert "lease/000000000001.json" not in keys
    from lidr.components.shared.store.lease import Lease

    assert not Lease(store, 1, 10).acquire()
    assert {entry.key for entry in store.list("lease")} == keys


@pytest.mark.parametrize("torn", [b"", b"[]", b'{"owner": ', b"\xff", b'{"seconds": 1e300}'])
def test_a_lease_that_is_torn_runs_out_and_files_of_others_do_not_matter(store, torn):
    store.write("lease/000000000003.json", torn)
    store.write("lease/notes.txt", b"x")
    store.write("lease/.DS_Store", b"x")
    with pytest.raises(LidrError, match="is held by"), exclusive(store, seconds=60, timeout=0.1):
        pass
    store.write("lease/000000000003.free", b"")
    with exclusive(store) as lease:
        assert lease.number == 4
