"""What `make images` asks of an engine; a script that writes its arguments down stands for it."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from images.build import NAMES, ROOT, main, version

ENGINE = f"""#!{sys.executable} -IS
import pathlib, sys
log = pathlib.Path(__file__).with_name("log")
with log.open("a") as out:
    print(*sys.argv[1:], file=out)
if sys.argv[1] == "build" and "broken" in sys.argv:
    sys.exit(7)
if sys.argv[1] == "image":
    print(123456789)
if sys.argv[1] == "from" or sys.argv[1] == "create":
    print("container")
if sys.argv[1] == "mount":
    print(log.parent)
if sys.argv[1] == "cp":
    pathlib.Path(sys.argv[3]).write_text("bill")
"""


@pytest.fixture
def engine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with an engine of every name; what was asked of it is in its file `log`."""
    for name in ("docker", "buildah"):
        (tmp_path / name).write_text(ENGINE)
        (tmp_path / name).chmod(0o755)
    (tmp_path / "opt/lidr/share").mkdir(parents=True)
    (tmp_path / "opt/lidr/share/sbom.cdx.json").write_text("bill")
    monkeypatch.setenv("SOURCE_DATE_EPOCH", "1700000000")
    return tmp_path


def build(folder: Path, engine: str, *arguments: str) -> int:
    """Call what `make images` calls; return its exit status."""
    given = ["--engine", str(folder / engine), "--sboms", str(folder / "sboms"), *arguments]
    try:
        main(given)
    except SystemExit as error:
        return int(error.code or 0)
    return 0


def builds(folder: Path) -> list[str]:
    lines = (folder / "log").read_text().splitlines()
    return [line for line in lines if line.startswith("build ")]


def test_all_four_are_built_from_the_pinned_base(engine: Path, capfd: pytest.CaptureFixture[str]):
    assert build(engine, "docker", "--prefix", "registry.example/lidr") == 0
    out = capfd.readouterr().out
    for name, line in zip(NAMES, builds(engine), strict=True):
        assert f"--file {ROOT}/images/{name}/Dockerfile" in line
        assert f"--tag registry.example/lidr/{name}:{version()}" in line
        assert f"--tag registry.example/lidr/{name}:latest" in line
        assert "--build-arg SOURCE_DATE_EPOCH=1700000000" in line
        assert "--build-arg BASE=" not in line
        assert "LOCK=" not in line
        assert f"registry.example/lidr/{name}:{version()}" in out
        assert (engine / "sboms" / f"{name}.cdx.json").read_text() == "bill"
    assert "123 MB" in out


def test_a_local_base_means_the_cpu_variants(engine: Path):
    assert build(engine, "docker", "--base", "local") == 0
    control, train, generate, mlflow = builds(engine)
    assert all("BASE=lidr/base:local" in line for line in builds(engine))
    assert "LOCK=requirements-cpu.lock" in train
    assert "LOCK=requirements-cpu.lock" in generate
    assert "LOCK=" not in control + mlflow


def test_buildah_gets_the_time_its_own_way_and_mirrors_are_secrets(engine: Path):
    given = ["--pip-conf", "a.conf", "--ca", "b.pem", "--flags=--isolation chroot"]
    assert build(engine, "buildah", "control", *given) == 0
    (line,) = builds(engine)
    assert "--timestamp=1700000000" in line
    assert "--secret id=pip,src=a.conf --secret id=ca,src=b.pem" in line
    assert line.endswith(f"--isolation chroot {ROOT}")
    assert (engine / "sboms" / "control.cdx.json").read_text() == "bill"


@pytest.mark.parametrize(
    ("given", "message"),
    [
        (["no-such-engine"], "no-such-engine' here. Install it, or name another"),
        (["docker", "contrl"], "no image contrl; there are control, train, generate, mlflow"),
        (["docker", "control", "--flags", "broken"], "docker build ended with 7"),
    ],
)
def test_what_cannot_be_built_is_said(
    engine: Path, given: list[str], message: str, capfd: pytest.CaptureFixture[str]
):
    assert build(engine, *given) == 2
    assert message in capfd.readouterr().err
