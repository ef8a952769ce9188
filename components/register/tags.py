"""A version's tags: the digests of its stages, images, commit and run."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence

from lidr.components.shared.config.recipe import Recipe
from lidr.components.shared.core.digest import digest_of, digest_of_uri
from lidr.components.shared.lineage.graph import Node, trace
from lidr.components.shared.models.outside import ADAPTER_TAG
from lidr.components.shared.models.sources import adapter_uri, model_uri
from lidr.components.shared.registry.evidence import GATE_TAG, START
from lidr.components.shared.registry.versions import DIGEST_TAG, PARENT_TAG, VERDICT_TAG
from lidr.components.shared.steps import BY_NAME, Step
from lidr.components.shared.store.marker import IMAGE_VARIABLE
from lidr.components.shared.store.stage import open_stage


def version_tags(
    settings: Recipe,
    inputs: str,
    stages: Mapping[str, str],
    iteration: int,
    parent: str,
    admission: Sequence[Mapping[str, str]] = (),
) -> dict[str, str]:
    """Return the tags of a version; unknown ones are left out.

    Args:
        settings: the recipe.
        inputs: URI of the stage `prepare`.
        stages: URIs of the stages `model`, `evaluation`, `judgements` ("" without a judge) and
            `decision` ("" for M_0).
        iteration: t of M_t.
        parent: "<registered model>/<version>" it was trained from; "" for M_0.
        admission: what was decided about M_0, one finding a property.
    """
    model, decision = open_stage(stages["model"]), stages["decision"]
    read = model.marker()["identity"]["inputs"]
    found = {
        DIGEST_TAG: model.digest,
        "lidr.iteration": str(iteration),
        PARENT_TAG: parent,
        "lidr.base_model": model_uri(inputs),
        "lidr.base_adapter": adapter_uri(inputs),
        ADAPTER_TAG: adapter_uri(stages["model"]),
        "lidr.languages": ",".join(settings.languages.all),
        "lidr.recipe_digest": digest_of(settings.model_dump(mode="json")),
        "lidr.inputs_digest": digest_of_uri(inputs),
        "lidr.start_digest": read.get("start", ""),
        "lidr.reference_digest": read.get("reference", ""),
        "lidr.evaluation_digest": digest_of_uri(stages["evaluation"]),
        BY_NAME["judge"].digest_tag: digest_of_uri(stages["judgements"]),
        GATE_TAG: digest_of_uri(decision),
        VERDICT_TAG: str(open_stage(decision).counts()["decision"]) if decision else START,
        "lidr.git_sha": os.environ.get("LIDR_GIT_SHA", ""),
        "lidr.kfp_run_id": os.environ.get("KFP_RUN_ID", ""),
        "lidr.image.register": os.environ.get(IMAGE_VARIABLE, ""),
    }
    for each in admission:
        found[f"lidr.model.{each['property'].replace(' ', '_')}"] = each["decision"]
    roots = [open_stage(uri).uri for uri in (inputs, *stages.values()) if uri]
    for node in trace(roots, _is_own):
        found[f"lidr.image.{node.step}"] = str(node.section("origin").get("image", ""))
        for name, uri in node.inputs.items():
            if _is_own(node, name):
                found[_maker(node, name).digest_tag] = digest_of_uri(uri)
    return {key: value for key, value in found.items() if value}


def _is_own(node: Node, name: str) -> bool:
    """Return whether a stage's input is of the same iteration and is tagged with its digest."""
    row = BY_NAME[node.step]
    single = name in row.reads and len(row.reads[name]) == 1
    if not single or name in row.any_iteration:
        return False
    maker = _maker(node, name)
    return bool(maker.digest_tag) and maker.about != "model"  # evaluations are tagged above


def _maker(node: Node, name: str) -> Step:
    return BY_NAME[BY_NAME[node.step].reads[name][0]]
