"""`lidr run` with secrets in its environment: nothing that it leaves or shows holds one."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.layers import layer
from tests.pipelines.conftest import FakeWorld
from tests.planted import PLANTED, leaks, watched_arguments, write_netrc

RUN = ("run", "tiny_world", "--run", "mine", "--set", "gate.max_iterations=1")


@pytest.fixture
def planted(fake_world: FakeWorld, tmp_path: Path) -> FakeWorld:
    home = tmp_path / "home"
    home.mkdir()
    write_netrc(home)
    fake_world.environment |= {**PLANTED, "HOME": str(home), "MLFLOW_TRACKING_URI": ""}
    fake_world.environment["TASKS"] = "processes"  # their arguments are watched
    return fake_world


def run(planted: FakeWorld, **fake: str) -> tuple[int, str]:
    place = layer(planted.store.parent, notify={})  # to a receiver that is not there
    with watched_arguments() as arguments:
        done = planted.lidr(*RUN, "--profile", "local", "--profile", place, **fake)
    assert "the receiver cannot be reached" in done.stderr
    assert any(b"lidr.pipelines.driver" in each for each in arguments)
    assert "Executing task" in (planted.run / "logs" / "run.log").read_text()
    assert leaks(done.stdout, done.stderr, planted.store, *arguments) == []
    return done.returncode, done.stdout + done.stderr


def test_a_run_tells_no_secret(planted: FakeWorld):
    code, said = run(planted)
    assert (code, "M_1" in said) == (0, True), said


def test_a_failure_in_which_a_library_names_them_tells_none(planted: FakeWorld):
    code, said = run(planted, prepare="tell")
    assert (code, "RuntimeError: the server says [redacted]" in said) == (1, True), said
    for command in (("status", "mine"), ("logs", "mine")):
        done = planted.lidr(*command)
        assert done.returncode == 0, done.stderr
        assert leaks(done.stdout, done.stderr) == []


def test_the_look_finds_what_is_there(planted: FakeWorld, tmp_path: Path):
    (tmp_path / "log").write_text(f"key={PLANTED['AWS_SECRET_ACCESS_KEY']}")
    assert len(leaks(tmp_path / "log")) == 1
    assert leaks(tmp_path / "home")  # .netrc itself
