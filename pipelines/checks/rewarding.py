"""Whether the models that score responses can be read (the recipe's `pairing.icr`)."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path

from lidr.components.shared.core.errors import BadInput, LidrError
from lidr.components.shared.models.admission import check_model
from lidr.components.shared.models.outside import fetch_model, model_names, resolve_model
from lidr.components.shared.store.stage import locate_stage
from lidr.pipelines.checks.finding import CheckInputs, Finding, ok, refused_or_unknown, unknown


def rewarding_findings(inputs: CheckInputs) -> Iterator[Finding]:
    """Yield whether policy and reference are there; their weights are not fetched."""
    icr = inputs.recipe.pairing.icr
    for role, source in (("policy", icr.policy), ("reference", icr.reference)):
        name = f"pairing.icr.{role}"
        if not source:
            continue
        if inputs.on_cluster and "://" not in source and not source.startswith("models:/"):
            detail = f"{source} is on this machine; pods may not see it"
            yield unknown(name, detail, "Name s3://bucket/prefix, or a stage of the store.")
            continue
        try:
            yield ok(name, _located_model(source, inputs.recipe.model.template_arguments))
        except LidrError as error:
            yield refused_or_unknown(name, error, inputs)


def _located_model(source: str, arguments: Mapping[str, object]) -> str:
    """Check a model that scores responses, and return where its files are.

    Args:
        source: as in the recipe.
        arguments: of its chat template.

    Raises:
        BadInput: the files are missing or incomplete, or the model is unusable.
    """
    place = resolve_model(source).source
    if "/stages/" in place:
        stage = locate_stage(place.rstrip("/").removesuffix("/model"))
        if not stage.done():
            raise BadInput(f"{stage.uri} is not complete", remedy="Name a finished stage.")
        return stage.uri
    local = "://" not in place
    if local and not Path(place).is_dir():
        raise BadInput("no such model folder", file=place, remedy="Correct the recipe.")
    # A folder has its weights: it is checked whole, as the step will check it.
    names = None if local else model_names(place)
    check_model(fetch_model(place, weights=False), names, arguments=arguments)
    return place
