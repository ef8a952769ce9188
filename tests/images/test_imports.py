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
import importlib, json, sys
absent = set(json.loads(sys.argv[1]))
class Absent:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in absent:
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)
sys.meta_path.insert(0, Absent())
importlib.import_module(sys.argv[2])
"""


def absent(lock: str = LOCK) -> list[str]:
    """Return the top-level modules of this environment that an image does not have."""
    there = {canonicalize_name(name) for name in pins(lock)} | {"lidr"}
    return [
        module
        for module, names in metadata.packages_distributions().items()
        if not there & {canonicalize_name(name) for name in names}
    ]


@pytest.mark.parametrize("module", RUN)
def test_module_of_the_control_image_is_imported_with_what_is_there(module: str):
    require_importable(LOCK, module)


@pytest.mark.parametrize("lock", EXTRAS)
def test_probe_of_lidr_check_runs_in_every_image(lock: str):
    require_importable(lock, "lidr.pipelines.checks.inside.probe")


def require_importable(lock: str, module: str) -> None:
    command = [sys.executable, "-c", BLOCKED, json.dumps(absent(lock)), module]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-2000:]


def test_torch_would_be_seen():
    assert {"torch", "vllm", "transformers"} <= set(absent())
    assert not {"boto3", "kubernetes", "kfp_server_api", "mlflow"} & set(absent())
