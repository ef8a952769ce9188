"""What `make images` asks of an engine; a script that writes its arguments down stands for it."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from images import build as build_module
from images.build import NAMES, ROOT, main, mixed_lock, version

ENGINE = f"""#!{sys.executable} -IS
import pathlib, sys
log = pathlib.Path(__file__).with_name("log")
if sys.argv[1] == "--version":
    print("Docker version 28.2.2, build e6534b4")
    sys.exit()
if sys.argv[1] == "buildx":
    print("github.com/docker/buildx 0.30.1")
    sys.exit(0 if log.with_name("buildx").exists() else 1)
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
    (tmp_path / "buildx").touch()
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
    created = [line for line in (engine / "log").read_text().splitlines() if "create" in line]
    assert all(line.startswith("create --pull=never ") for line in created) and len(created) == 4


def test_revision_tells_a_tree_with_changes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    def git(*command: str) -> None:
        subprocess.run(["git", "-C", str(tmp_path), *command], check=True, capture_output=True)

    git("init")
    git("-c", "user.name=a", "-c", "user.email=a@b", "commit", "--allow-empty", "-m", "a")
    monkeypatch.setattr(build_module, "ROOT", tmp_path)
    assert re.fullmatch(r"[0-9a-f]{40}", build_module._revision())
    (tmp_path / "new").touch()
    assert re.fullmatch(r"[0-9a-f]{40}-dirty", build_module._revision())


def test_a_local_base_means_the_cpu_variants(engine: Path):
    assert build(engine, "docker", "--base", "local") == 0
    control, train, generate, mlflow = builds(engine)
    assert all("BASE=lidr/base:local" in line for line in builds(engine))
    assert "LOCK=requirements-cpu.lock" in train
    assert "LOCK=requirements-cpu.lock" in generate
    assert "LOCK=" not in control + mlflow


def test_without_cpu_wheels_of_torch_it_is_pypi_s(engine: Path):
    assert build(engine, "docker", "--base", "local", "--variant", "cuda-torch") == 0
    control, train, generate, mlflow = builds(engine)
    assert "LOCK=requirements-cuda-torch.lock" in generate
    assert "LOCK=" not in control + train + mlflow


def test_the_mixed_lock_is_the_cpu_lock_on_the_torch_of_training():
    def pinned(text: str) -> dict[str, str]:
        return dict(re.findall(r"^([a-z0-9][^ =]*)==(\S+)", text, re.MULTILINE))

    folder = ROOT / "images"
    found = pinned(mixed_lock())
    cpu = pinned((folder / "generate" / "requirements-cpu.lock").read_text())
    gpu = pinned((folder / "train" / "requirements.lock").read_text())
    assert found["torch"] == gpu["torch"] and "+cpu" in cpu["torch"]
    assert found["nvidia-cublas"] == gpu["nvidia-cublas"]
    ours = {name for name in found if found[name] != cpu.get(name)}
    assert ours == {
        name for name in gpu if name.startswith(("torch", "triton", "nvidia-", "cuda-"))
    }
    assert set(cpu) <= set(found)
    entries = re.split(r"^(?=[a-z0-9])", mixed_lock(), flags=re.MULTILINE)[1:]
    assert all("--hash=sha256:" in each and not each.rstrip().endswith("\\") for each in entries)


def test_a_docker_without_its_buildx_is_told_apart(
    engine: Path, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
):
    (engine / "buildx").unlink()
    assert build(engine, "docker") == 2
    (line,) = capfd.readouterr().err.splitlines()
    assert line.startswith("images: error: docker 28.2.2 cannot build without its component buildx")
    assert "apt-get install docker-buildx" in line
    older = engine / "older"
    older.mkdir()
    (older / "docker").write_text(ENGINE.replace("28.2.2", "20.10.24"))
    (older / "docker").chmod(0o755)
    (engine / "folder" / "docker").mkdir(parents=True)
    (engine / "plain").mkdir()
    (engine / "plain" / "docker").touch()
    monkeypatch.setenv(
        "PATH", f"{engine}/folder:{engine}/plain:{engine}:{older}:{os.environ['PATH']}"
    )
    main(["--engine", "docker", "--sboms", str(engine / "sboms"), "control"])
    assert f"{engine}/docker has no buildx; {older}/docker is used" in capfd.readouterr().err
    assert "build" in (older / "log").read_text()


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
        (["docker", "control", "--flags", "broken"], "docker build exited with 7"),
    ],
)
def test_what_cannot_be_built_is_said(
    engine: Path, given: list[str], message: str, capfd: pytest.CaptureFixture[str]
):
    assert build(engine, *given) == 2
    assert message in capfd.readouterr().err
