"""What admission decides about a model, and whether all of its weights are there."""

from __future__ import annotations

import logging
from collections.abc import Iterator

from lidr.components.shared.models.admission import ModelCandidate, PropertyFinding, admit
from lidr.components.shared.models.weights import read_index
from lidr.pipelines.checks.finding import CheckInputs, Finding, missing, ok, unknown


def admission_findings(
    inputs: CheckInputs, source: str, candidate: ModelCandidate
) -> Iterator[Finding]:
    """Yield what admission decides about each property."""
    logging.getLogger("transformers").setLevel(logging.ERROR)
    for each in admit(candidate).findings:
        if each.property == "files":
            yield _files(inputs, source, each)
            if not each.refused:
                yield _weights(candidate)
        elif each.refused:
            yield missing(each.property, each.decision, each.remedy or "See the message.")
        else:
            yield ok(each.property, each.decision)


def _files(inputs: CheckInputs, source: str, admitted: PropertyFinding) -> Finding:
    """Return admission's finding, as `unknown` for a folder that pods may not see."""
    name = "model files"
    if admitted.refused:
        return missing(name, admitted.decision, admitted.remedy)
    detail = f"{source}: {admitted.decision}"
    if inputs.on_cluster and "://" not in source:
        remedy = "Name s3://bucket/prefix, or keep the folder in the image or on a volume."
        return unknown(name, f"{detail}, here; pods may not see this folder", remedy)
    return ok(name, detail)


def _weights(candidate: ModelCandidate) -> Finding:
    """Return how many files hold the weights; admission has refused a model that lacks one."""
    count = len(read_index(candidate.folder))
    detail = f"{count} files of safetensors, all there" if count else "one file, safetensors"
    return ok("model weights", detail)
