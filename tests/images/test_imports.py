"""What runs in an image imports only what its lock holds."""

from __future__ import annotations

import json
import subprocess
import sys
from importlib import metadata

import pytest
from packaging.utils import canonicalize_name

from lidr.components.shared.steps import TASKS
from tests.images.test_locks import EXTRAS, pins

LOCK = "control/requirements.lock"
RUN = (
    "lidr.pipelines.tasks.conclusion",
    "lidr.pipelines.tasks.ending",
    "lidr.pipelines.tasks.rollout",  # the launcher of shards
    "lidr.pipelines.cli.notify",
    "lidr.pipelines.cli.prune",
    "lidr.components.serve.__main__",
    *(
        f"lidr.components.{steps[0].name}.run"
        for steps in TASKS.values()
        if steps[0].kind in ("control", "judge") and steps[0].name not in ("gate", "report")
    ),
)
"""Modules of tasks, of the command line and of the follower; the first two have gate and report."""

BLOCKED = """
import importlib, json, os, sys, traceback
absent = set(json.loads(sys.argv[1]))
class Absent:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in absent:
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)
sys.meta_path.insert(0, Absent())
import lidr.components.shared.step  # once, for all of them
for module in sys.argv[2:]:
    ours, theirs = os.pipe()
    if not os.fork():
        fault = ""
        try:
            importlib.import_module(module)
        except BaseException:
            fault = traceback.format_exc()
        os.write(theirs, fault[-2000:].encode())
        os._exit(0)
    os.close(theirs)
    print(json.dumps([module, os.fdopen(ours).read()]), flush=True)
"""


def absent(lock: str = LOCK) -> list[str]:
    """Return the top-level modules of this environment that an image does not have."""
    there = {canonicalize_name(name) for name in pins(lock)} | {"lidr"}
    return [
        module
        for module, names in metadata.packages_distributions().items()
        if not there & {canonicalize_name(name) for name in names}
    ]


def faults(lock: str, *modules: str) -> dict[str, str]:
    """Return why each module cannot be imported with what a lock holds; "" if it can."""
    command = [sys.executable, "-c", BLOCKED, json.dumps(absent(lock)), *modules]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-2000:]
    return dict(map(json.loads, done.stdout.splitlines()))


@pytest.fixture(scope="module")
def control() -> dict[str, str]:
    return faults(LOCK, *RUN)


@pytest.mark.parametrize("module", RUN)
def test_module_of_the_control_image_is_imported_with_what_is_there(control, module: str):
    assert control[module] == ""


@pytest.mark.parametrize("lock", EXTRAS)
def test_probe_of_lidr_check_runs_in_every_image(lock: str):
    assert set(faults(lock, "lidr.pipelines.checks.inside.probe").values()) == {""}


def test_what_is_absent_is_missed():
    fault = faults(LOCK, "lidr.components.train.assembly")["lidr.components.train.assembly"]
    assert "ModuleNotFoundError" in fault


def test_torch_would_be_seen():
    assert {"torch", "vllm", "transformers"} <= set(absent())
    assert not {"boto3", "kubernetes", "kfp_server_api", "mlflow"} & set(absent())
