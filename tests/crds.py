"""Validating custom resources offline, against their CRDs beside the checkout.

A CRD's OpenAPI schema becomes a JSON Schema in which unknown fields are refused, as the API server
does with `fieldValidation: Strict`. CEL rules (x-kubernetes-validations) are not evaluated.
"""

from __future__ import annotations

from functools import cache
from pathlib import Path
from typing import Any

import jsonschema
import pytest

from tests.yaml_text import read_yaml

FOLDER = Path(__file__).resolve().parents[1].parent / "shared" / "crds"

needs_crds = pytest.mark.skipif(
    not FOLDER.is_dir(), reason=f"no CRDs in {FOLDER}: nothing to validate against"
)


def problems(manifest: dict[str, Any]) -> list[str]:
    """Return what the API server would have against a custom resource."""
    group, _, version = manifest["apiVersion"].partition("/")
    validator = jsonschema.Draft202012Validator(_schema(group, manifest["kind"], version))
    return [f"{error.json_path}: {error.message}" for error in validator.iter_errors(manifest)]


@cache
def versions(group: str, kind: str) -> list[dict[str, Any]]:
    """Return the versions that a kind's CRD has."""
    for path in FOLDER.glob(f"{group}_{kind.lower()[:-1]}*.yaml"):
        crd = read_yaml(path.read_text("utf-8"))
        if crd["spec"]["names"]["kind"] == kind:
            found: list[dict[str, Any]] = crd["spec"]["versions"]
            return found
    raise AssertionError(f"no CRD for {group} {kind}")


@cache
def _schema(group: str, kind: str, version: str) -> dict[str, Any]:
    (found,) = [each for each in versions(group, kind) if each["name"] == version]
    schema = _strict(found["schema"]["openAPIV3Schema"])
    schema["properties"]["metadata"] = {"type": "object"}
    return schema


def _strict(schema: dict[str, Any]) -> dict[str, Any]:
    result = {key: value for key, value in schema.items() if not key.startswith("x-kubernetes")}
    if schema.get("x-kubernetes-int-or-string"):
        result = {"type": ["integer", "string"], "pattern": schema.get("pattern", "")}
    if "properties" in schema:
        result["properties"] = {name: _strict(each) for name, each in schema["properties"].items()}
        if not schema.get("x-kubernetes-preserve-unknown-fields"):
            result.setdefault("additionalProperties", False)
    if isinstance(schema.get("additionalProperties"), dict):
        result["additionalProperties"] = _strict(schema["additionalProperties"])
    if "items" in schema:
        result["items"] = _strict(schema["items"])
    result.pop("format", None)
    return result
