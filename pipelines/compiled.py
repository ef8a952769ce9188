"""Compiling the loop into KFP's intermediate representation (IR)."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

from components.shared.errors import BadInput
from components.shared.profile import Profile
from components.shared.recipe import Recipe

if TYPE_CHECKING:
    from kfp.dsl.base_component import BaseComponent

    from pipelines.placement import Placement

MAX_BYTES = 350_000
"""The Argo workflow becomes about twice as large, and a cluster refuses it above 700 kB."""

MAX_UNROLL = 5


def compile_loop(recipe: Recipe, profile: Profile, run: str, max_unroll: int) -> str:
    """Return the pipeline as YAML; equal input gives equal bytes.

    Args:
        recipe: what to learn; the default of the pipeline's `recipe` parameter.
        profile: where to run.
        run: the default name of the run.
        max_unroll: rounds compiled in, from the recipe's `gate.max_iterations` to 5.

    Raises:
        BadInput: `max_unroll` is out of range, or the IR is larger than a cluster takes.
    """
    if not recipe.gate.max_iterations <= max_unroll <= MAX_UNROLL:
        raise BadInput(
            f"{max_unroll} rounds do not lie between gate.max_iterations "
            f"({recipe.gate.max_iterations}) and {MAX_UNROLL}",
            remedy="Change --max-unroll, or --set gate.max_iterations=N.",
        )
    from pipelines.lean import import_kfp

    import_kfp()
    from components.train.launchers.launch import Launch
    from pipelines.loop import build_loop

    launch = Launch.of(profile).text()
    place = _placement(profile)
    return _compiled(
        build_loop(recipe, profile.store, run, place, max_unroll, profile.shards, launch)
    )


def compile_promotion(recipe: Recipe, profile: Profile) -> str:
    """Return the promotion pipeline as YAML; equal input gives equal bytes.

    Args:
        recipe: whose benchmarks and gate decide.
        profile: where to run.
    """
    from pipelines.lean import import_kfp

    import_kfp()
    from pipelines.promote import build_promotion

    return _compiled(build_promotion(recipe, profile.store, _placement(profile)))


def _placement(profile: Profile) -> Placement:
    from pipelines.placement import place_locally, placed_by

    return place_locally if profile.runner == "local" else placed_by(profile)


def _compiled(pipeline: BaseComponent) -> str:
    from kfp import compiler

    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "pipeline.yaml"
        compiler.Compiler().compile(pipeline, str(file))
        text = _shared(file.read_text(encoding="utf-8"))
    size = len(text.encode())
    if size > MAX_BYTES:
        raise BadInput(
            f"the compiled pipeline has {size:,} bytes, more than {MAX_BYTES:,}",
            remedy="Lower --max-unroll, or shorten the profile's tolerations and secrets.",
        )
    return text


def _shared(text: str) -> str:
    """Return the IR with components shared among rounds, its heading kept."""
    import yaml

    from pipelines.sharing import share_components

    documents = list(yaml.load_all(text, Loader=yaml.CSafeLoader))
    share_components(documents[0], documents[1] if len(documents) > 1 else {})
    heading = "".join(line for line in text.splitlines(True) if line.startswith("#"))
    body: str = yaml.dump_all(documents, Dumper=yaml.CSafeDumper, allow_unicode=True, width=1000)
    return heading + body
