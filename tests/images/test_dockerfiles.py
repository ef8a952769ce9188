"""What every Dockerfile must keep to, without building it."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

from images.build import NAMES, ROOT, version
from lidr.components.shared.config.profile import Images, load_profile

HADOLINT = Path(sys.executable).with_name("hadolint")
DIGEST = r"[\w./-]+:[\w.-]+@sha256:[0-9a-f]{64}"
COMPILERS = re.compile(r"(?<![\w-])(gcc|g\+\+|clang|build-essential|make|cmake|nvcc)(?![\w-])")
SECRETS = re.compile(r"(?i)(ARG|ENV)\s+\w*(password|secret|token|key)\b")


def dockerfile(name: str) -> str:
    return (ROOT / "images" / name / "Dockerfile").read_text("utf-8")


def code(name: str) -> str:
    """Return a Dockerfile without comments, its continued lines joined."""
    lines = [line for line in dockerfile(name).splitlines() if not line.startswith("#")]
    return "\n".join(lines).replace("\\\n", " ")


def stages(name: str) -> list[str]:
    return re.split(r"^(?=FROM )", code(name), flags=re.MULTILINE)[1:]


def test_every_folder_with_a_dockerfile_is_built():
    folders = {path.parent.name for path in (ROOT / "images").glob("*/Dockerfile")}
    assert folders == set(NAMES)


@pytest.mark.skipif(not HADOLINT.is_file(), reason="no hadolint: it is part of the dev extra")
def test_hadolint_finds_nothing_and_nothing_is_ignored():
    files = [str(path) for path in sorted((ROOT / "images").glob("*/Dockerfile"))]
    done = subprocess.run([HADOLINT, *files], capture_output=True, text=True, timeout=60)
    assert (done.returncode, done.stdout) == (0, "")
    assert not any("hadolint ignore" in dockerfile(name) for name in NAMES)
    assert not list(ROOT.glob(".hadolint.y*ml"))


@pytest.mark.skipif(not HADOLINT.is_file(), reason="no hadolint: it is part of the dev extra")
def test_hadolint_would_find_something(tmp_path: Path):
    broken = tmp_path / "Dockerfile"
    broken.write_text(dockerfile("control").replace("USER 10001:0", "USER root"))
    done = subprocess.run([HADOLINT, broken], capture_output=True, text=True, timeout=60)
    assert done.returncode != 0
    assert "DL3002" in done.stdout


def test_one_base_pinned_by_digest():
    bases = {re.findall(r"^ARG BASE=(.*)$", code(name), re.MULTILINE)[0] for name in NAMES}
    assert len(bases) == 1
    assert re.fullmatch(DIGEST, bases.pop())


@pytest.mark.parametrize("name", NAMES)
def test_stages_stand_on_the_base_and_on_nothing_else(name: str):
    froms = [stage.split("\n", 1)[0].split() for stage in stages(name)]
    known = {"${BASE}", "scratch"} | {words[3] for words in froms if len(words) > 3}
    assert len(froms) > 1
    assert {words[1] for words in froms} <= known


@pytest.mark.parametrize("name", NAMES)
def test_the_runtime_stage_is_for_any_user_but_root(name: str):
    last = stages(name)[-1]
    assert re.findall(r"^USER (.*)$", last, re.MULTILINE) == ["10001:0"]
    assert 'dev.lidr.writable="/scratch /tmp"' in last
    assert re.search(r"\bHOME=/scratch\b", last)
    assert "HEALTHCHECK" in last
    assert last.count("ENTRYPOINT") == 1


@pytest.mark.parametrize("name", NAMES)
def test_what_an_image_is_stands_in_its_labels(name: str):
    labels = dict(re.findall(r'org\.opencontainers\.image\.([\w.]+)="([^"]*)"', stages(name)[-1]))
    wanted = {"title", "description", "licenses", "version", "revision", "base.name"}
    assert set(labels) == wanted
    assert labels["title"] == f"lidr/{name}"
    assert labels["version"] == "${VERSION}"


@pytest.mark.parametrize("name", NAMES)
def test_packages_come_from_locks_only(name: str):
    assert not re.search(r"pip3? install|curl|wget|^ADD ", code(name), re.MULTILINE)
    script = (ROOT / "images" / "shared" / "packages.sh").read_text("utf-8")
    from_index = [line for line in re.sub(r"\\\n", " ", script).splitlines() if "/bin/pip " in line]
    assert len(from_index) == 3
    assert all("--require-hashes" in line or "--no-index" in line for line in from_index)


@pytest.mark.parametrize("name", NAMES)
def test_no_compiler_where_none_is_needed(name: str):
    found = set(COMPILERS.findall(code(name)))
    assert found == ({"g++"} if name == "generate" else set())


@pytest.mark.parametrize("name", NAMES)
def test_no_secret_and_no_weights(name: str):
    assert not SECRETS.search(code(name))
    assert not re.search(r"(?i)safetensors|huggingface-cli|hf download|snapshot", code(name))
    for run in re.findall(r"^RUN .*packages\.sh.*$", code(name), re.MULTILINE):
        assert run.count("--mount=type=secret") == 2


def test_only_what_is_named_gets_into_the_build():
    lines = (ROOT / ".dockerignore").read_text("utf-8").splitlines()
    rules = [line for line in lines if line and not line.startswith("#")]
    assert rules[0] == "*"
    copied = {
        word.split("/")[0]
        for name in NAMES
        for line in re.findall(r"^COPY (?!--from)(.*)$", code(name), re.MULTILINE)
        for word in line.split()[:-1]
    }
    assert {rule.removeprefix("!") for rule in rules if rule.startswith("!")} == copied


def test_profiles_name_these_images():
    for images in (Images(), load_profile(ROOT / "pipelines/profiles/cluster.yaml").images):
        for name in ("control", "train", "generate"):
            assert re.fullmatch(
                rf"(ghcr\.io/)?lidr/{name}:(latest|{version()})", images.model_dump()[name]
            )
