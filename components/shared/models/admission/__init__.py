"""Admission: whether and how a model can be used, decided from its files before any work on it.

`lidr check`, the import of M_0 and `lidr evaluate` decide the same properties in the same order
(`properties.PROPERTIES`); each property gives a decision of one line, or refuses the model.
"""

from lidr.components.shared.models.admission.admit import admit
from lidr.components.shared.models.admission.candidate import ModelCandidate
from lidr.components.shared.models.admission.files import check_adapter, check_model
from lidr.components.shared.models.admission.finding import Admission, PropertyFinding

__all__ = [
    "Admission",
    "ModelCandidate",
    "PropertyFinding",
    "admit",
    "check_adapter",
    "check_model",
]
