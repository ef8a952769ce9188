"""Admission: what a model is, decided on its own files, once, before anything is spent on it.

`lidr check`, the import of M_0 and `lidr evaluate` ask the same properties in the same order
(`properties.PROPERTIES`); each is either decided, in one line, or refuses the model.
"""

from lidr.components.shared.models.admission.admit import admit
from lidr.components.shared.models.admission.candidate import ModelCandidate
from lidr.components.shared.models.admission.files import (
    check_adapter,
    check_model,
    check_templates,
)
from lidr.components.shared.models.admission.finding import Admission, PropertyFinding

__all__ = [
    "Admission",
    "ModelCandidate",
    "PropertyFinding",
    "admit",
    "check_adapter",
    "check_model",
    "check_templates",
]
