"""What the built images are like, inside and out."""

from __future__ import annotations

import json
import re
import time
from collections.abc import Callable
from typing import Any

import pytest

from images.build import NAMES, SBOM, version
from tests.images.conftest import ANYBODY, image
from tests.images.test_locks import pins

pytestmark = pytest.mark.slow

Run = Callable[..., str]

STEPS = ("control", "train", "generate")

LOOK = """
import json, os, stat
found = {"setuid": [], "programs": [], "weights": [], "writable": []}
for folder, folders, files in os.walk("/"):
    folders[:] = [f for f in folders if os.path.join(folder, f) not in ("/proc", "/sys", "/dev")]
    if os.access(folder, os.W_OK):
        found["writable"].append(folder)
    for name in files:
        path = os.path.join(folder, name)
        mode = os.lstat(path).st_mode
        if stat.S_ISREG(mode) and mode & 0o6000:
            found["setuid"].append(path)
        weights = name.endswith((".safetensors", ".gguf", ".ckpt", ".bin", ".pt", ".pth"))
        if weights and os.lstat(path).st_size > 10_000_000:  # less than any model
            found["weights"].append(path)
        if folder.endswith("bin") and os.access(path, os.X_OK):
            found["programs"].append(name)
print(json.dumps(found))
"""


@pytest.fixture(scope="module")
def looked(engine: Any) -> dict[str, dict[str, list[str]]]:
    """What is in each image's file system, seen by root so that nothing stays hidden."""
    found = {}
    for name in NAMES:
        out = engine.containers.run(
            image(name),
            ["-c", LOOK],
            entrypoint=["python3"],
            user="0:0",
            remove=True,
            network_mode="none",
            read_only=True,
            tmpfs={"/tmp": "", "/scratch": ""},
        )
        found[name] = json.loads(out)
    return found


@pytest.fixture(scope="module")
def configuration(engine: Any) -> dict[str, dict[str, Any]]:
    return {name: engine.images.get(image(name)).attrs["Config"] for name in NAMES}


@pytest.mark.parametrize("name", NAMES)
def test_no_file_lends_its_owner_s_rights(name: str, looked: dict):
    assert looked[name]["setuid"] == []


@pytest.mark.parametrize("name", NAMES)
def test_it_holds_no_weights(name: str, looked: dict):
    assert looked[name]["weights"] == []


@pytest.mark.parametrize("name", NAMES)
def test_it_holds_no_compiler(name: str, looked: dict):
    """These are the CPU variants; Triton's compiler is in the other one of generate."""
    assert not {"cc", "gcc", "g++", "c++", "clang", "nvcc", "make"} & set(looked[name]["programs"])


def test_the_server_holds_no_shell_and_no_package_manager(looked: dict):
    programs = set(looked["mlflow"]["programs"])
    assert {"python3", "mlflow"} <= programs
    assert not {"sh", "bash", "dash", "busybox", "apt", "dpkg", "pip", "pip3", "perl"} & programs


@pytest.mark.parametrize("name", NAMES)
def test_it_runs_as_nobody_special(name: str, configuration: dict):
    assert configuration[name]["User"] == "10001:0"


@pytest.mark.parametrize("name", NAMES)
def test_its_labels_say_what_it_is(name: str, configuration: dict):
    labels = configuration[name]["Labels"]
    assert labels["org.opencontainers.image.version"] == version()
    assert re.fullmatch(r"[0-9a-f]{40}(-dirty)?", labels["org.opencontainers.image.revision"])


@pytest.mark.parametrize("name", NAMES)
def test_nothing_of_the_build_s_secrets_is_kept(name: str, engine: Any, looked: dict):
    history = json.dumps(engine.images.get(image(name)).history())
    assert "find-links" not in history
    out = engine.containers.run(
        image(name),
        [
            "-c",
            "import os; print(*filter(os.path.exists, ['/etc/pip.conf', '/etc/pip-ca.pem']))",
        ],
        entrypoint=["python3"],
        remove=True,
    )
    assert out.decode().strip() == ""


@pytest.mark.parametrize("name", STEPS)
def test_it_says_its_version_in_five_seconds(name: str, run: Run):
    begin = time.monotonic()
    assert run(name, "--version") == f"lidr {version()}\n"
    assert time.monotonic() - begin < 5.0


def test_the_server_says_its_version(run: Run):
    assert run("mlflow", "--version").startswith("mlflow, version 3.17.")


@pytest.mark.parametrize("name", NAMES)
def test_any_user_finds_a_home(name: str, run: Run):
    program = (
        "import os, pathlib; pathlib.Path.home().joinpath('x').write_text('x'); print(os.getuid())"
    )
    out = run(name, "-c", program, entrypoint=["python3"])
    assert out.strip() == ANYBODY.split(":")[0]


@pytest.mark.parametrize("name", NAMES)
def test_without_mounts_only_the_named_places_can_be_written(name: str, run: Run):
    program = LOOK.replace("print(json.dumps(found))", "print(json.dumps(found['writable']))")
    found = json.loads(run(name, "-c", program, entrypoint=["python3"], read_only=False, tmpfs={}))
    debian = {"/run/lock", "/var/tmp"}  # open to anyone, as everywhere
    assert set(found) - debian == {"/scratch", "/tmp"}


@pytest.mark.parametrize("name", NAMES)
def test_its_bill_of_materials_is_valid_and_complete(name: str, run: Run):
    from cyclonedx.schema import SchemaVersion
    from cyclonedx.validation.json import JsonStrictValidator

    text = run(name, "-c", f"print(open({SBOM!r}).read())", entrypoint=["python3"])
    bill = json.loads(text)
    assert (
        JsonStrictValidator(SchemaVersion.from_version(bill["specVersion"])).validate_str(text)
        is None
    )
    held = {each["name"].lower().replace("_", "-").replace(".", "-") for each in bill["components"]}
    lock = f"{name}/requirements{'-cpu' if name in ('train', 'generate') else ''}.lock"
    missing = {pin.replace(".", "-") for pin in pins(lock)} - held
    assert missing == set()
    assert any(
        each.get("purl", "").startswith("pkg:deb/debian/libc6@") for each in bill["components"]
    )


COMPILE = """
import pathlib, subprocess
options = ["--profile", "cluster", "--output", "/tmp/loop.yaml"]
subprocess.run(["lidr", "compile", "tiny_world", *options], check=True)
print(pathlib.Path("/tmp/loop.yaml").read_text())
"""


def test_control_compiles_a_pipeline(run: Run):
    out = run("control", "-c", COMPILE, entrypoint=["python3"])
    assert "ghcr.io/lidr/train" in out
