"""Parts of a profile that a process gets in an environment variable."""

from __future__ import annotations

import os
from typing import ClassVar, Self

from pydantic import ValidationError

from lidr.components.shared.config.base_model import Strict
from lidr.components.shared.core.errors import BadInput


class FromEnvironment(Strict):
    """Settings from an environment variable; where it is not set, their defaults."""

    variable: ClassVar[str]
    """The environment variable, which holds them as JSON."""
    sections: ClassVar[str]
    """The profile's sections with the same settings, for messages."""

    @classmethod
    def from_environment(cls) -> Self:
        """Return the settings of this process.

        Raises:
            BadInput: the environment variable holds something else.
        """
        try:
            return cls.model_validate_json(os.environ.get(cls.variable) or "{}")
        except ValidationError as error:
            raise BadInput(
                f"{cls.variable} does not hold a profile's {cls.sections}: "
                f"{error.errors(include_url=False)[0]['msg']}",
                remedy=f"Unset it, and set {cls.sections} in the profile.",
            ) from error

    def text(self) -> str:
        """Return the value of the environment variable; "" where everything is the default."""
        return "" if self == type(self)() else self.model_dump_json(exclude_defaults=True)
