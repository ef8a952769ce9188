"""What a version was made of, as tags: digests of stages, images, commit and run."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence

from lidr.components.shared.config.recipe import Recipe
from lidr.components.shared.core.digest import digest_of, digest_of_uri
from lidr.components.shared.models.sources import ADAPTER_TAG, adapter_uri, model_uri
from lidr.components.shared.registry.evidence import GATE_TAG, START
from lidr.components.shared.registry.versions import DIGEST_TAG, VERDICT_TAG
from lidr.components.shared.steps import BY_NAME
from lidr.components.shared.store.marker import IMAGE_VARIABLE
from lidr.components.shared.store.stage import Stage, open_stage


def facts(
    settings: Recipe,
    inputs: str,
    stages: Mapping[str, str],
    iteration: int,
    parent: str,
    admission: Sequence[Mapping[str, str]] = (),
) -> dict[str, str]:
    """Return the tags of a version; what is not known is left out.

    Args:
        settings: the recipe.
        inputs: URI of the stage `prepare`.
        stages: URIs of the stages `model`, `evaluation` and `decision` ("" for M_0).
        iteration: t of M_t.
        parent: "<registered model>/<version>" it was trained from; "" for M_0.
        admission: what was decided about M_0, one finding a property.
    """
    model = open_stage(stages["model"])
    read = model.marker()["identity"]["inputs"]
    found = {
        DIGEST_TAG: model.digest,
        "lidr.iteration": str(iteration),
        "lidr.parent_version": parent,
        "lidr.base_model": model_uri(inputs),
        "lidr.base_adapter": adapter_uri(inputs),
        ADAPTER_TAG: adapter_uri(stages["model"]),
        "lidr.languages": ",".join(settings.languages.all),
        "lidr.recipe_digest": digest_of(settings.model_dump(mode="json")),
        "lidr.inputs_digest": digest_of_uri(inputs),
        "lidr.start_digest": read.get("start", ""),
        "lidr.reference_digest": read.get("reference", ""),
        "lidr.evaluation_digest": digest_of_uri(stages["evaluation"]),
        GATE_TAG: digest_of_uri(stages["decision"]),
        VERDICT_TAG: _verdict(stages["decision"]),
        "lidr.git_sha": os.environ.get("LIDR_GIT_SHA", ""),
        "lidr.kfp_run_id": os.environ.get("KFP_RUN_ID", ""),
        "lidr.image.register": os.environ.get(IMAGE_VARIABLE, ""),
    }
    for told in admission:
        found[f"lidr.model.{told['property'].replace(' ', '_')}"] = told["decision"]
    for uri in dict.fromkeys([inputs, *stages.values()]):
        if uri:
            found |= _stage_facts(open_stage(uri))
    return {key: value for key, value in found.items() if value}


def _verdict(decision: str) -> str:
    return str(open_stage(decision).counts()["decision"]) if decision else START


def _stage_facts(stage: Stage) -> dict[str, str]:
    """Return digests and images of what a stage has read, and so on to the beginning."""
    step = _step_of(stage)
    found = {f"lidr.image.{step}": str(stage.marker()["origin"].get("image", ""))}
    for kind, digest in _read(stage):
        found[BY_NAME[kind].digest_tag] = digest
        earlier = Stage(stage.store, f"stages/{kind}/{digest}")
        if earlier.done():  # it may have been cleared away
            found |= _stage_facts(earlier)
    return found


def _read(stage: Stage) -> Iterator[tuple[str, str]]:
    """Yield what a stage has read of its own iteration: the step that made it, and its digest."""
    inputs, row = stage.marker()["identity"]["inputs"], BY_NAME[_step_of(stage)]
    for name, (kind, *others) in row.reads.items():
        maker = BY_NAME[kind]
        own = not others and name not in row.aside and maker.about != "model"  # that is given
        if own and maker.digest_tag and (digest := inputs.get(name)):
            yield kind, digest


def _step_of(stage: Stage) -> str:
    return stage.prefix.split("/")[1]
