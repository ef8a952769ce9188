"""Decides every property of a model."""

from __future__ import annotations

from collections.abc import Iterator

from lidr.components.shared.core.errors import BadInput
from lidr.components.shared.models.admission.candidate import ModelCandidate
from lidr.components.shared.models.admission.finding import Admission, PropertyFinding
from lidr.components.shared.models.admission.properties import BLOCKING, NEEDS, PROPERTIES


def admit(candidate: ModelCandidate) -> Admission:
    """Return what was decided about every property of a model."""
    return Admission(tuple(_findings(candidate)))


def _findings(candidate: ModelCandidate) -> Iterator[PropertyFinding]:
    refused: set[str] = set()
    reasons: set[str] = set()  # each is reported once: one broken file fails many properties
    for name, decide in PROPERTIES.items():
        if NEEDS.get(name) in refused:
            continue
        try:
            decision = decide(candidate)
        except BadInput as error:
            if error.message not in reasons:
                yield PropertyFinding(name, error.message, True, error.remedy)
            refused.add(name)
            reasons.add(error.message)
            if name in BLOCKING:
                return
            continue
        if decision:
            yield PropertyFinding(name, decision)
