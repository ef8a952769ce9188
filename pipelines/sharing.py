"""Shares components among the rounds of a compiled pipeline.

KFP's compiler gives every task of an inlined sub-pipeline its own component and executor, so five
rounds hold everything five times. Here equal definitions become one; tasks keep their names, inputs
and order.
"""

from __future__ import annotations

from typing import Any

from lidr.components.shared.core.digest import canonical_json

Document = dict[str, Any]
"""A part of a PipelineSpec or PlatformSpec."""


def share_components(pipeline: Document, platform: Document) -> None:
    """Merge equal executors, then equal components, in place.

    Args:
        pipeline: the PipelineSpec as a dictionary.
        platform: its PlatformSpec, or {}.
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
        for task in all_tasks(pipeline):
            task["componentRef"]["name"] = names[task["componentRef"]["name"]]


def all_tasks(pipeline: Document) -> list[Document]:
    """Return the tasks of all components of a pipeline."""
    bodies = [pipeline["root"], *pipeline["components"].values()]
    return [task for body in bodies for task in body.get("dag", {}).get("tasks", {}).values()]


def _first_of_equals(table: Document) -> dict[str, str]:
    """Return, for each name, the first one (by length, then letters) with an equal value."""
    first: dict[str, str] = {}
    ordered = sorted(table, key=lambda name: (len(name), name))
    return {name: first.setdefault(canonical_json(table[name]), name) for name in ordered}


def _drop(table: Document, names: dict[str, str]) -> None:
    for name in [name for name in table if names[name] != name]:
        del table[name]
