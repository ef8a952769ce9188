"""The recipe's section on duplicate prompts."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import BeforeValidator, Field

from lidr.components.shared.config.base_model import Strict, yaml_off


class Deduplication(Strict):
    """Drops prompts that say what an earlier one says, in all languages, within an iteration and
    across iterations. The dominant language's texts are compared."""

    mode: Annotated[Literal["off", "exact", "near"], BeforeValidator(yaml_off)] = "off"
    """`exact`: texts that are equal but for case and white space. `near`: those, and texts that
    share most of their wording, whatever numbers they hold. Default off."""
    similarity: float = Field(0.8, gt=0.0, lt=1.0)
    """Share of 5-character pieces that two texts have in common (Jaccard, estimated by MinHash)
    from which they are nearly the same. Default 0.8."""
