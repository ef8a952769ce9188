"""A compiled pipeline whose steps only write outputs: for counting what its Workflow takes."""

from __future__ import annotations

from typing import Any

import yaml

Spec = dict[str, Any]

_SCRIPT = (
    'while [ "$1" != -- ]; do mkdir -p "$(dirname "$1")"; printf %s "$2" > "$1"; shift 2; done'
)
_DIGEST = "0123456789abcdef" * 4


def stand_in(text: str, image: str) -> str:
    """Return the IR with steps that write outputs of the usual length and end.

    What the steps are made of stays in their commands, behind the stand-in's own words, so that
    nothing gets smaller. Verdicts are `continue`, so every round is gone through.

    Args:
        text: the compiled pipeline.
        image: with a shell.
    """
    documents = list(yaml.load_all(text, Loader=yaml.CSafeLoader))
    spec = documents[0]
    verdicts = verdict_outputs(spec)
    for name, component in spec["components"].items():
        if "executorLabel" in component:
            executor = spec["deploymentSpec"]["executors"][component["executorLabel"]]
            _replace(executor["container"], name, component, verdicts, image)
    return yaml.dump_all(documents, Dumper=yaml.CSafeDumper, sort_keys=True)


def _replace(
    container: Spec, name: str, component: Spec, verdicts: set[tuple[str, str]], image: str
) -> None:
    outputs = component.get("outputDefinitions", {}).get("parameters", {})
    words = []
    for key, output in outputs.items():
        path = f"{{{{$.outputs.parameters['{key}'].output_file}}}}"
        words += [path, _value(name, key, output["parameterType"], verdicts)]
    container["args"] = [*words, "--", *container.get("command", []), *container.get("args", [])]
    container["command"] = ["sh", "-ec", _SCRIPT, "stand-in"]
    container["image"] = image
    container["resources"] = {"resourceCpuRequest": "10m", "resourceMemoryLimit": "128Mi"}


def _value(name: str, key: str, kind: str, verdicts: set[tuple[str, str]]) -> str:
    if (name, key) in verdicts:
        return "continue"
    if kind.startswith("NUMBER"):
        return "1"
    return f"s3://lidr/store/stages/{name.removeprefix('comp-')}/{_DIGEST}"


def verdict_outputs(spec: Spec) -> set[tuple[str, str]]:
    """Return component and output key of whatever becomes somebody's `verdict`."""
    found = set()
    for component in [*spec["components"].values(), spec["root"]]:
        tasks = component.get("dag", {}).get("tasks", {})
        for task in tasks.values():
            for name, given in task.get("inputs", {}).get("parameters", {}).items():
                made = given.get("taskOutputParameter")
                if made and name.rsplit("--", 1)[-1].endswith("verdict"):
                    producer = tasks[made["producerTask"]]["componentRef"]["name"]
                    found.add((producer, made["outputParameterKey"]))
    return found
