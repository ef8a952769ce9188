"""Runs a loop of another shape in kfp.local: `shaped.py STORE RUN ROUNDS FIRST WATCHING`."""

from __future__ import annotations

import sys
import tempfile

from pipelines.cli.inputs import read_recipe
from pipelines.lean import import_kfp

if __name__ == "__main__":
    import_kfp()
    from kfp import local

    from pipelines.loop import Shape, build_loop
    from pipelines.placement import place_locally

    store, run, rounds, first, watching = sys.argv[1:]
    recipe = read_recipe("tiny_world", None, ["gate.max_iterations=2"])
    shape = Shape(int(rounds), int(first), watching == "yes")
    loop = build_loop(recipe, store, run, place_locally, shape)
    with tempfile.TemporaryDirectory() as work:
        local.init(
            runner=local.SubprocessRunner(use_venv=False),
            pipeline_root=f"{work}/outputs",
            workspace_root=f"{work}/workspace",
        )
        loop()
