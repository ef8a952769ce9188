"""Killing `lidr run` again and again: it ends as if undisturbed."""

from __future__ import annotations

import json
import random
import signal
import subprocess
import time
from pathlib import Path

import pytest

from tests.e2e.runs import result_of, small

pytestmark = pytest.mark.slow


def stage_digests(store: Path) -> dict[str, str]:
    """Return the content digests of every file of every stage but those that carry times."""
    digests = {}
    for marker in sorted(store.glob("stages/*/*/_SUCCESS")):
        step = marker.parent.parent.name
        for name, file in json.loads(marker.read_text())["files"].items():
            if step != "register" and not name.endswith("metrics.jsonl"):
                digests[f"{step}/{marker.parent.name}/{name}"] = file["sha256"]
    return digests


def test_killed_at_random_moments_it_ends_as_if_undisturbed(tmp_path: Path) -> None:
    undisturbed, disturbed = tmp_path / "undisturbed", tmp_path / "disturbed"
    subprocess.run(small(undisturbed), check=True, capture_output=True, timeout=600)
    rng = random.Random(20)
    kills = 0
    while True:
        process = subprocess.Popen(
            small(disturbed), stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True
        )
        try:
            _, errors = process.communicate(timeout=rng.uniform(3, 25) if kills < 8 else 600)
        except subprocess.TimeoutExpired:
            number = rng.choice([signal.SIGKILL, signal.SIGKILL, signal.SIGINT, signal.SIGTERM])
            process.send_signal(number)
            process.wait(30)
            process.stderr.close()
            kills += 1
            assert_no_orphans(disturbed)
            continue
        assert process.returncode == 0, errors
        break
    assert kills >= 3
    assert stage_digests(disturbed) == stage_digests(undisturbed)
    expected = result_of(undisturbed, "small")["iterations"]
    for ours, theirs in zip(result_of(disturbed, "small")["iterations"], expected, strict=True):
        assert ours["accuracy"] == theirs["accuracy"]


def assert_no_orphans(store: Path) -> None:
    """Every process that carries the run's events file in its environment must be gone."""
    mark = f"LIDR_EVENTS={store / 'runs' / 'small' / 'events.jsonl'}".encode()
    end = time.monotonic() + 10
    while time.monotonic() < end:
        alive = [p for p in Path("/proc").glob("[0-9]*") if mark in environment(p)]
        if not alive:
            return
        time.sleep(0.1)
    raise AssertionError(f"orphans: {alive}")


def environment(process: Path) -> bytes:
    try:
        return (process / "environ").read_bytes()
    except OSError:
        return b""
