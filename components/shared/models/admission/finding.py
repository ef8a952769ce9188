"""What admission decides about a model: one finding for each property."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

from lidr.components.shared.core.errors import BadInput
from lidr.components.shared.core.text import one_line


@dataclass(frozen=True)
class PropertyFinding:
    """What was decided about one property of a model.

    Attributes:
        property: its name, e.g. `end of turn`.
        decision: e.g. `<end_of_turn> (106)`; if refused, the reason.
        refused: whether the model cannot be used for this recipe.
        remedy: how to fix that; "" if it is not refused.
    """

    property: str
    decision: str
    refused: bool = False
    remedy: str = ""

    def line(self) -> str:
        """Return the finding for display, e.g. `end of turn: <end_of_turn> (106)`."""
        return one_line(f"{self.property}: {'refused: ' * self.refused}{self.decision}")


@dataclass(frozen=True)
class Admission:
    """The findings about a model, in the order of its properties."""

    findings: tuple[PropertyFinding, ...]

    def require(self) -> None:
        """Refuse a model that cannot be used.

        Raises:
            BadInput: with the reason and remedy of the first refusal.
        """
        for found in self.findings:
            if found.refused:
                raise BadInput(found.decision, remedy=found.remedy)

    @property
    def lines(self) -> list[str]:
        """One line for each finding."""
        return [found.line() for found in self.findings]

    def to_dict(self) -> dict[str, Any]:
        """Return the findings as JSON types."""
        return {"findings": [asdict(found) for found in self.findings]}
