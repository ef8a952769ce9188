"""The base of every configuration: the strict model, and types of values."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from functools import cache
from typing import Annotated, Any, ClassVar, get_args

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationInfo, field_validator

from lidr.components.shared.core.languages import NAMES
from lidr.components.shared.core.redaction import login_fault
from lidr.components.shared.core.text import nearest


def yaml_off(value: object) -> object:
    """Return "off" for False, which is how YAML 1.1 reads `off`."""
    return "off" if value is False else value


class Strict(BaseModel):
    """Base of all configuration: frozen, unknown keys refused, fields documented in place."""

    model_config = ConfigDict(
        frozen=True, extra="forbid", allow_inf_nan=False, use_attribute_docstrings=True
    )

    moved: ClassVar[Mapping[str, str]] = {}
    """Dotted keys that this model used to have, and where the profile has them now."""

    def model_dump_json(self, **options: Any) -> str:
        """Return the values as JSON in printable ASCII.

        It is embedded in YAML, which takes U+2028, U+2029 and U+0085 for ends of lines, and refuses
        other characters (YAML 1.1, section 5.4).
        """
        values = self.model_dump(mode="json", **options)
        return json.dumps(values, separators=(",", ":")).replace("\x7f", "\\u007f")

    @field_validator("*", mode="before")
    @classmethod
    def _refuse_bool_for_number(cls, value: Any, info: ValidationInfo) -> Any:
        """Refuse a boolean where a number belongs: pydantic would read `seed: true` as 1."""
        kind: Any = cls.model_fields[str(info.field_name)].annotation
        if any(isinstance(leaf, bool) for leaf in _leaves(value)) and _is_numeric(kind):
            raise ValueError("input should be a number, not true or false")
        return value

    @field_validator("*")
    @classmethod
    def _no_login(cls, value: object) -> object:
        """Refuse an address that holds a secret, in any field: all of them are recorded."""
        for leaf in _leaves(value):
            if isinstance(leaf, str) and (fault := login_fault(leaf)):
                raise ValueError(
                    f"the address {fault}, which would be recorded; "
                    "give it in the environment or a Kubernetes Secret"
                )
        return value


def _leaves(value: object) -> Iterator[object]:
    """Yield the values in mappings, lists and tuples, at any depth."""
    if isinstance(value, Mapping | list | tuple):
        for each in value.values() if isinstance(value, Mapping) else value:
            yield from _leaves(each)
    else:
        yield value


@cache
def _is_numeric(kind: Any) -> bool:
    """Return whether a field's type holds numbers, and neither booleans nor other models."""
    kinds = set(_kinds_in(kind))
    models = any(isinstance(each, type) and issubclass(each, BaseModel) for each in kinds)
    return bool(kinds & {int, float}) and bool not in kinds and not models


def _kinds_in(kind: Any) -> Iterator[Any]:
    parts = get_args(kind)
    for part in parts:
        yield from _kinds_in(part)
    if not parts:
        yield kind


def _known_language(code: str) -> str:
    if code not in NAMES:
        near = nearest(code, NAMES)
        raise ValueError(
            f"language {code!r} cannot be identified in a text{near}; known are the "
            f"ISO 639-1 codes {', '.join(NAMES)}"
        )
    return code


LanguageCode = Annotated[str, AfterValidator(_known_language)]

Share = Annotated[float, Field(ge=0.0, le=1.0)]
