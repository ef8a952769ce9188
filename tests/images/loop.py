"""The loop with every task in a container of its image: `python -m tests.images.loop < JOB`.

A process of its own, because kfp.local keeps its settings and its capture of `print` for good.
"""

from __future__ import annotations

import json
import sys
import tempfile
from pathlib import Path

from kfp.dsl import PipelineTask

from lidr.components.shared.config.profile import Images
from lidr.components.shared.config.recipe import Recipe
from lidr.pipelines.lean import import_kfp
from tests.images.conftest import CONFINED, image


def main(job: dict) -> None:
    import_kfp()
    from kfp import local

    from lidr.pipelines.loop import LoopShape, build_loop
    from lidr.pipelines.placement import KIND_BY_COMPONENT

    def place(task: PipelineTask) -> PipelineTask:
        task.set_caching_options(False)
        for name, value in job["environment"].items():
            task.set_env_variable(name, value)
        kind = KIND_BY_COMPONENT.get(task.component_spec.name, "control")
        return task.set_container_image(images.of(kind))

    recipe = Recipe.model_validate_json(job["recipe"])
    images = Images(**{name: image(name) for name in Images.model_fields})
    with tempfile.TemporaryDirectory() as folder:
        for name in ("outputs", "workspace"):
            Path(folder, name).mkdir()
            Path(folder, name).chmod(0o777)  # KFP mounts them, and the tasks are another user's
        Path(folder).chmod(0o755)
        local.init(
            runner=local.DockerRunner(network=job["network"], entrypoint=[""], **CONFINED),
            pipeline_root=f"{folder}/outputs",
            workspace_root=f"{folder}/workspace",
        )
        loop = build_loop(
            recipe, job["store"], "inside", place, LoopShape(recipe.gate.max_iterations)
        )
        loop(recipe=job["recipe"], store=job["store"], run="inside")


if __name__ == "__main__":
    main(json.load(sys.stdin))
