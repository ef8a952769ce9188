"""Compiling the loop into KFP's intermediate representation (IR)."""

from __future__ import annotations

import tempfile
from pathlib import Path

from components.shared.errors import BadInput
from components.shared.profile import Profile
from components.shared.recipe import Recipe

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
    from kfp import compiler

    from components.train.launchers.launch import Launch
    from pipelines.loop import build_loop
    from pipelines.placement import place_locally, placed_by

    place = place_locally if profile.runner == "local" else placed_by(profile)
    launch = Launch.of(profile).text()
    loop = build_loop(recipe, profile.store, run, place, max_unroll, profile.shards, launch)
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "loop.yaml"
        compiler.Compiler().compile(loop, str(file))
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
