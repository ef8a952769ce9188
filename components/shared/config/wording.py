"""What a wrong value of a YAML file should be, in the words of YAML, not of Python or pydantic."""

from __future__ import annotations

from collections.abc import Mapping

from pydantic_core import ErrorDetails

from lidr.components.shared.config.patterns import words_of

_TYPES: Mapping[str, str] = {
    "a list": "tuple_type list_type set_type frozen_set_type",
    "keys and values": "dict_type mapping_type model_type model_attributes_type",
    "text": "string_type invalid_key",
    "a whole number": "int_type int_parsing int_parsing_size int_from_float",
    "a number": "float_type float_parsing",
    "true or false": "bool_type bool_parsing",
    "a path": "path_type",
}
_WORDS = {name: words for words, names in _TYPES.items() for name in names.split()}
"""By pydantic's type of error; its own words serve for the others, such as limits and choices."""

_LENGTHS: Mapping[str, tuple[str, str, str]] = {
    "too_short": ("at least", "min_length", "item"),
    "too_long": ("at most", "max_length", "item"),
    "string_too_short": ("at least", "min_length", "character"),
    "string_too_long": ("at most", "max_length", "character"),
}

_MAX_SHOWN_CHARS = 200
"""Characters of a wrong value that a message shows."""


def wanted(details: ErrorDetails) -> str:
    """Return what pydantic wanted: "input should be a list"."""
    kind, context = details["type"], details.get("ctx", {})
    subject = "key" if kind == "invalid_key" or details["loc"][-1:] == ("[key]",) else "input"
    if words := words_of(context.get("pattern", "")) or _WORDS.get(kind):
        return f"{subject} should be {words}"
    if kind in _LENGTHS:
        bound, name, unit = _LENGTHS[kind]
        count = context[name]
        return f"{subject} should have {bound} {count} {unit}{'' if count == 1 else 's'}"
    message = details["msg"]
    return f"{message[0].lower()}{message[1:]}"


def shown(value: object) -> str:
    """Return a wrong value as a message shows it: YAML's words where it has its own."""
    if value is None or isinstance(value, bool):
        return {None: "null", True: "true", False: "false"}[value]
    text = repr(value)
    return text if len(text) <= _MAX_SHOWN_CHARS else f"{text[:_MAX_SHOWN_CHARS]}…"
