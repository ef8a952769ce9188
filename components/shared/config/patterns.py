"""Patterns of text fields, each with its words for errors: a regular expression is no remedy."""

from __future__ import annotations

from collections.abc import Mapping

COMMIT = "^[0-9a-f]{40}$"
CPU = r"^\d+(\.\d+)?m?$"
CURRENCY = r"^[A-Z]{3}$"
ENVIRONMENT_NAME = r"^[A-Z_][A-Z0-9_]*$"
IMAGE = r"^[A-Za-z0-9_.\-/:]+(@sha256:[0-9a-f]{64})?$"
KUBERNETES_NAME = r"^[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?$"
"""RFC 1123 label: a namespace of Kubernetes, or a pool."""
KUBERNETES_OBJECT = r"^[a-z0-9]([a-z0-9-]*[a-z0-9])?(\.[a-z0-9]([a-z0-9-]*[a-z0-9])?)*$"
"""RFC 1123 subdomain, of at most OBJECT_CHARS: the name of most other objects of Kubernetes."""
MEMORY = r"^\d+(\.\d+)?(Ki|Mi|Gi|Ti|K|M|G|T)?$"
MODEL_NAME = r"^[^/:'\"`%]*$"
QUANTIZATION = r"^[a-z0-9_-]*$"
SHORT_NAME = r"^[a-z0-9]([a-z0-9-]{0,38}[a-z0-9])?$"
TOKEN_URL = r"^https?://[^\s@]+$"  # noqa: S105
URL = r"^(https?://[^\s@]+)?$"
"""An address without a login, or ""."""

OBJECT_CHARS = 253
LABEL_CHARS = 63

_OR_EMPTY = "|^$"

_WORDS: Mapping[str, str] = {
    COMMIT: "the 40 hex digits of a commit",
    CPU: "a number of cores, e.g. 2, 0.5 or 500m",
    CURRENCY: "an ISO 4217 code, e.g. USD",
    ENVIRONMENT_NAME: "an environment variable's name, of capital letters, digits and underscores",
    IMAGE: "an image's name, e.g. registry/train:1.0 or registry/train@sha256:<64 hex digits>",
    KUBERNETES_NAME: "a Kubernetes name: lower-case letters, digits and hyphens (not at the ends), "
    "at most 63",
    KUBERNETES_OBJECT: "a Kubernetes name: lower-case letters, digits, hyphens and dots, none of "
    "these two at an end",
    MEMORY: "bytes, with a suffix or without, e.g. 64Gi or 500M",
    MODEL_NAME: "a name without / : % or quotes",
    QUANTIZATION: "a method's name, of lower-case letters, digits, hyphens and underscores",
    SHORT_NAME: "lower-case letters, digits and hyphens (not at the ends), at most 40",
    TOKEN_URL: "an https:// address without a login",
    URL: "an http:// or https:// address without a login",
}


def or_empty(pattern: str) -> str:
    """Return a pattern that also matches the empty text."""
    return pattern + _OR_EMPTY


def words_of(pattern: str) -> str:
    """Return what a pattern asks for, in words; "" for a pattern that is not listed here."""
    return _WORDS.get(pattern.removesuffix(_OR_EMPTY), "")
