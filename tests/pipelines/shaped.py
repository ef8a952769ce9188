"""Runs a schedule's second iteration in kfp.local: `shaped.py STORE NAME`."""

from __future__ import annotations

import sys
import tempfile

from lidr.pipelines.cli.inputs import read_recipe
from tests.kfp_forks import fork_tasks

if __name__ == "__main__":
    fork_tasks(["tests.pipelines.fake_steps", "lidr.components.state.run"])
    from kfp import local

    from lidr.pipelines.loop import LoopShape, build_loop
    from lidr.pipelines.placement import place_locally

    store, name = sys.argv[1:]
    recipe = read_recipe("tiny_world", None, ["gate.max_iterations=2"])
    shape = LoopShape(2, first=2, resumed=True, watching=True)
    loop = build_loop(recipe, store, name, place_locally, shape)
    with tempfile.TemporaryDirectory() as work:
        local.init(
            runner=local.SubprocessRunner(use_venv=False),
            pipeline_root=f"{work}/outputs",
            workspace_root=f"{work}/workspace",
        )
        loop()
