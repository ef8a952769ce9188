"""A compiled pipeline whose steps only write outputs: for counting what its Workflow takes."""

from __future__ import annotations

import re
from typing import Any

import yaml

from tests.yaml_text import read_documents

Spec = dict[str, Any]

_SCRIPT = (
    'while [ "$1" != -- ]; do mkdir -p "$(dirname "$1")"; printf %s "$2" > "$1"; shift 2; done'
)
_DIGEST = "0123456789abcdef" * 4


def stand_in(text: str, image: str) -> str:
    """Return the IR with steps that write outputs of the usual length and end.

    What the steps are made of stays in their commands, behind the stand-in's own words, so that
    nothing gets smaller. Conditions hold, so every task of every round is gone through.

    Args:
        text: the compiled pipeline.
        image: with a shell.
    """
    documents = list(read_documents(text))
    spec = documents[0]
    wanted = wanted_outputs(spec)
    for name, component in spec["components"].items():
        if "executorLabel" in component:
            executor = spec["deploymentSpec"]["executors"][component["executorLabel"]]
            _replace(executor["container"], name, component, wanted, image)
    return yaml.dump_all(documents, Dumper=yaml.CSafeDumper, sort_keys=True)


def _replace(
    container: Spec, name: str, component: Spec, wanted: dict[tuple[str, str], str], image: str
) -> None:
    outputs = component.get("outputDefinitions", {}).get("parameters", {})
    words = []
    for key, output in outputs.items():
        path = f"{{{{$.outputs.parameters['{key}'].output_file}}}}"
        words += [path, wanted.get((name, key)) or _value(name, output["parameterType"])]
    container["args"] = [*words, "--", *container.get("command", []), *container.get("args", [])]
    container["command"] = ["sh", "-ec", _SCRIPT, "stand-in"]
    container["image"] = image
    container["resources"] = {"resourceCpuRequest": "10m", "resourceMemoryLimit": "128Mi"}


def _value(name: str, kind: str) -> str:
    if kind.startswith("NUMBER"):
        return "1"
    return f"s3://lidr/store/stages/{name.removeprefix('comp-')}/{_DIGEST}"


def wanted_outputs(spec: Spec) -> dict[tuple[str, str], str]:
    """Return, by component and output key, what a condition wants of it, or a later verdict."""
    found: dict[tuple[str, str], str] = {}
    for component in [*spec["components"].values(), spec["root"]]:
        tasks = component.get("dag", {}).get("tasks", {})
        for task in tasks.values():
            wanted = dict(_EQUALS.findall(task.get("triggerPolicy", {}).get("condition", "")))
            for name, given in task.get("inputs", {}).get("parameters", {}).items():
                made = given.get("taskOutputParameter")
                value = wanted.get(name, "continue" if name == "verdict" else "")
                if made and value:
                    producer = tasks[made["producerTask"]]["componentRef"]["name"]
                    found[producer, made["outputParameterKey"]] = value
    return found


_EQUALS = re.compile(r"inputs\.parameter_values\['([^']+)'\] == '([^']*)'")
