"""Letting the rounds of a compiled pipeline share their components.

KFP's compiler gives every task of an inlined sub-pipeline a component and an executor of its own,
so five rounds hold everything five times. The format allows what programs do: one definition, many
uses. Equal definitions become one; tasks keep their names, inputs and order.
"""

from __future__ import annotations

from typing import Any

from lidr.components.shared.core.digest import canonical_json

Document = dict[str, Any]


def share_components(pipeline: Document, platform: Document) -> None:
    """Merge equal executors, then equal components, in place.

    Args:
        pipeline: the PipelineSpec as a dictionary.
        platform: its PlatformSpec; {} where there is none.
    """
    executors = pipeline["deploymentSpec"]["executors"]
    settings = (
        platform.get("platforms", {})
        .get("kubernetes", {})
        .get("deploymentSpec", {})
        .get("executors", {})
    )
    names = _first_of_equals(
        {label: [body, settings.get(label)] for label, body in executors.items()}
    )
    for table in (executors, settings):
        _drop(table, names)
    components = pipeline["components"]
    for component in components.values():
        if "executorLabel" in component:
            component["executorLabel"] = names[component["executorLabel"]]
    while len(names := _first_of_equals(components)) > len(set(names.values())):
        _drop(components, names)
        for dag in _dags(pipeline):
            for task in dag["tasks"].values():
                task["componentRef"]["name"] = names[task["componentRef"]["name"]]


def _first_of_equals(table: Document) -> dict[str, str]:
    """Return, for each name, the first one (by length, then letters) with an equal value."""
    first: dict[str, str] = {}
    ordered = sorted(table, key=lambda name: (len(name), name))
    return {name: first.setdefault(canonical_json(table[name]), name) for name in ordered}


def _drop(table: Document, names: dict[str, str]) -> None:
    for name in [name for name in table if names[name] != name]:
        del table[name]


def _dags(pipeline: Document) -> list[Document]:
    bodies = [pipeline["root"], *pipeline["components"].values()]
    return [body["dag"] for body in bodies if "dag" in body]
