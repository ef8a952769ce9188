"""What every configuration is made of: the strict base model, and kinds of values."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from functools import cache
from typing import Annotated, Any, ClassVar, get_args

from pydantic import AfterValidator, BaseModel, ConfigDict, ValidationInfo, field_validator

from lidr.components.shared.core.languages import NAMES
from lidr.components.shared.core.redaction import login_fault
from lidr.components.shared.core.text import nearest


def yaml_off(value: object) -> object:
    """Return the word for what YAML reads `off` as."""
    return "off" if value is False else value


class Strict(BaseModel):
    """Base of all configuration: frozen, unknown keys refused, fields documented in place."""

    model_config = ConfigDict(
        frozen=True, extra="forbid", allow_inf_nan=False, use_attribute_docstrings=True
    )

    moved: ClassVar[Mapping[str, str]] = {}
    """Dotted keys that this model had once, and where the profile has them."""

    def model_dump_json(self, **options: Any) -> str:
        """Return the values as JSON in printable ASCII.

        It travels inside YAML, which takes U+2028, U+2029 and U+0085 for ends of lines, and refuses
        other signs (YAML 1.1, section 5.4).
        """
        values = self.model_dump(mode="json", **options)
        return json.dumps(values, separators=(",", ":")).replace("\x7f", "\\u007f")

    @field_validator("*", mode="before")
    @classmethod
    def _refuse_truth_for_a_number(cls, value: Any, info: ValidationInfo) -> Any:
        """`seed: true` would be 1."""
        kind: Any = cls.model_fields[str(info.field_name)].annotation
        if _holds_truth(value) and _is_numeric(kind):
            raise ValueError("input should be a number, not true or false")
        return value

    @field_validator("*")
    @classmethod
    def _no_login(cls, value: object) -> object:
        """Refuse an address that holds a secret, in whatever field: all of them are recorded."""
        for text in _texts(value):
            if fault := login_fault(text):
                raise ValueError(
                    f"the address {fault}, which would be recorded; "
                    "give it in the environment or a Kubernetes Secret"
                )
        return value


def _holds_truth(value: Any) -> bool:
    if isinstance(value, dict):
        return any(map(_holds_truth, value.values()))
    if isinstance(value, list | tuple):
        return any(map(_holds_truth, value))
    return isinstance(value, bool)


@cache
def _is_numeric(kind: Any) -> bool:
    """Return whether a field holds numbers, and neither truth nor a model of its own fields."""
    kinds = set(_kinds_in(kind))
    models = any(isinstance(each, type) and issubclass(each, BaseModel) for each in kinds)
    return bool(kinds & {int, float}) and bool not in kinds and not models


def _kinds_in(kind: Any) -> Iterator[Any]:
    parts = get_args(kind)
    for part in parts:
        yield from _kinds_in(part)
    if not parts:
        yield kind


def _texts(value: object) -> Iterator[str]:
    if isinstance(value, str):
        yield value
    elif isinstance(value, Mapping):
        yield from (text for each in value.values() for text in _texts(each))
    elif isinstance(value, list | tuple):
        yield from (text for each in value for text in _texts(each))


def _known_language(code: str) -> str:
    if code not in NAMES:
        near = nearest(code, NAMES)
        raise ValueError(
            f"language {code!r} cannot be identified in a text{near}; known are the "
            f"ISO 639-1 codes {', '.join(NAMES)}"
        )
    return code


LanguageCode = Annotated[str, AfterValidator(_known_language)]


def one_per_language(name: str) -> str:
    """Return a name that holds `{language}` and no other braces.

    Raises:
        ValueError: it does not.
    """
    if "{language}" not in name or set("{}") & set(name.replace("{language}", "")):
        raise ValueError(f"{name!r} must hold {{language}}, and no other braces")
    return name


PerLanguage = Annotated[str, AfterValidator(one_per_language)]
"""A name in which `{language}` stands for an ISO 639-1 code."""
