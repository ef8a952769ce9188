"""Metrics, tags, parameters and datasets of a finished stage for MLflow, from its marker."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Callable, Iterable, Mapping
from functools import partial
from typing import Any

from lidr.components.shared.config.load import flatten
from lidr.components.shared.core.digest import digest_of_uri
from lidr.components.shared.core.text import is_printable
from lidr.components.shared.records.counts import MEASURED, stage_figures
from lidr.components.shared.steps import BY_NAME
from lidr.components.shared.store.stage import Stage
from lidr.components.shared.tracking.entries import Dataset, Metric

Counts = Mapping[str, Any]

_BOUNDS = ("low", "high")
_FINAL = ("loss", "reward_margin", "reward_accuracy")
_MAX_TAG_CHARS = 5000
_UNNAMEABLE = re.compile(r"[^\w\-. :]")
"""Characters that MLflow refuses in a parameter's name, and slashes, which it reads as folders."""


def metrics_of(step: str, stage: Stage, iteration: int) -> list[Metric]:
    """Return the metrics that only a stage's own MLflow run shows, by optimizer step or by t."""
    if step == "train":
        return training_curves(_rows(stage))
    if step == "evaluate":
        return [
            (f"accuracy/{code}/{bound}", float(row["accuracy"][bound]), iteration)
            for code, row in stage.counts()["languages"].items()
            for bound in _BOUNDS
        ]
    return []


def training_curves(rows: Iterable[Mapping[str, float]]) -> list[Metric]:
    """Return training curves, from the metrics of each optimizer step."""
    return [
        (f"train/{key}", float(value), int(row["step"]))
        for row in rows
        for key, value in row.items()
        if key != "step"
    ]


def _rows(stage: Stage) -> list[dict[str, float]]:
    if not stage.files(prefix="metrics.jsonl"):
        return []
    return [json.loads(line) for line in stage.read("metrics.jsonl").decode().splitlines()]


def headline_of(step: str, stage: Stage, iteration: int) -> list[Metric]:
    """Return the metrics of a stage that its iteration and the whole run show too, by t."""
    figures = {f"{step}/seconds": float(stage.marker().get("seconds", 0.0))}
    if step in _FIGURES:
        figures |= _FIGURES[step](stage.counts())
    return [(name, value, iteration) for name, value in figures.items() if math.isfinite(value)]


def _rolled_out(step: str, counts: Counts) -> dict[str, float]:
    return {f"{step}/{name}": value for name, value in stage_figures(counts).items()}


def _scored(step: str, counts: Counts) -> dict[str, float]:
    """Return the share of responses with a score, and by language the spread of best and worst."""
    spreads = {
        f"{step}/spread/{code}": float(row["spread"]) for code, row in counts["languages"].items()
    }
    share = counts["scored"] / max(counts["responses"], 1)
    return {f"{step}/scored_share": share, **spreads}


def _paired(counts: Counts) -> dict[str, float]:
    parts = {
        f"pair/yield/{code}": row["kept"] / max(row["candidates"], 1)
        for code, row in counts.get("languages", {}).items()
    }
    return {
        "pair/pairs": float(counts["pairs"]),
        "pair/yield": counts["pairs"] / max(counts["candidates"], 1),
        "pair/identical_share": float(counts["identical_share"]),
        **parts,
        **_reward(counts.get("reward", {}).get("places", {})),
    }


def _reward(places: Mapping[str, Mapping[str, Any]]) -> dict[str, float]:
    """Return the values that a reward check could verify, by measure and direction (`*`: `all`)."""
    return {
        f"reward/{measure}/{key.replace('*', 'all')}": float(place[measure]["value"])
        for key, place in places.items()
        for measure in place["verifiable"]
    }


def _trained(counts: Counts) -> dict[str, float]:
    final = counts.get("final", {})
    return {
        **{f"train/{name}": float(counts[name]) for name in ("pairs", "steps") if name in counts},
        **{f"train/final_{name}": float(final[name]) for name in _FINAL if name in final},
    }


def scores_of(counts: Counts) -> dict[str, float]:
    """Return an evaluation's average, and by language accuracy, off-target and truncated shares."""
    figures = {"accuracy/average": float(counts["average"]["value"])}
    for code, row in counts["languages"].items():
        figures[f"accuracy/{code}"] = float(row["accuracy"]["value"])
        figures[f"off_target/{code}"] = float(row["off_target"]["value"])
        figures[f"truncated/{code}"] = float(row["truncated"]["value"])
    return figures


def _evaluated(counts: Counts) -> dict[str, float]:
    measured = {f"evaluate/{name}": float(counts[name]) for name in MEASURED if name in counts}
    return scores_of(counts) | measured


def _judged(counts: Counts) -> dict[str, float]:
    return {
        f"judge/{task}/{code}": float(place["score"]["value"])
        for task, found in counts["tasks"].items()
        for code, place in found["languages"].items()
        if place["score"]["n"]
    }


def decision_of(counts: Counts) -> dict[str, float]:
    """Return a gate's decision and gains as numbers: Kubeflow's MLflow plugin logs words as 0."""
    decided = {
        "gate/promoted": float(bool(counts["promoted"])),
        "gate/continues": float(counts["verdict"] == "continue"),
    }
    return decided | _gated(counts)


def _gated(counts: Counts) -> dict[str, float]:
    gains = {
        f"gate/gain/{code}": float(row["gain"]["value"])
        for code, row in counts.get("languages", {}).items()
    }
    mean = counts.get("mean_gain")
    return {**({"gate/mean_gain": float(mean["value"])} if mean else {}), **gains}


_FIGURES: dict[str, Callable[[Counts], dict[str, float]]] = {
    "generate": partial(_rolled_out, "generate"),
    "translate": partial(_rolled_out, "translate"),
    "score": partial(_scored, "score"),
    "grade": partial(_scored, "grade"),
    "pair": _paired,
    "train": _trained,
    "evaluate": _evaluated,
    "judge": _judged,
    "gate": _gated,
}


def tags_of(step: str, stage: Stage) -> dict[str, str]:
    """Return a stage's tags: its digest and URI, and a gate's or reward check's verdict."""
    tags = {"lidr.stage": stage.digest, "lidr.uri": stage.uri}
    if step == "gate":
        counts = stage.counts()
        names = ("decision", "verdict", "reason")
        tags |= {f"lidr.gate.{name}": clean(str(counts.get(name, ""))) for name in names}
    if step == "pair" and (reward := stage.counts().get("reward")):
        tags |= {f"lidr.reward.{name}": clean(str(reward[name])) for name in ("verdict", "reason")}
    return tags


def params_of(stage: Stage) -> dict[str, str]:
    """Return a stage's settings and inputs, which its digest covers, as MLflow parameters."""
    identity = stage.marker()["identity"]
    given = {**flatten(identity["settings"]), **flatten({"inputs": identity["inputs"]})}
    return as_params(given)


def as_params(values: Mapping[str, Any]) -> dict[str, str]:
    """Return values as MLflow parameters; names without a prefix belong to KFP's plugin."""
    return {
        _UNNAMEABLE.sub("_", f"lidr.{key}")[:250]: clean(str(value), 6000)
        for key, value in values.items()
    }


def datasets_of(step: str, stage: Stage) -> list[Dataset]:
    """Return the inputs of a stage that are data."""
    inputs, row = stage.marker()["identity"]["inputs"], BY_NAME[step]
    found = []
    for name, context in row.data.items():
        if digest := inputs.get(name):
            uri = f"{stage.store.uri}/stages/{row.reads[name][0]}/{digest_of_uri(digest)}"
            shown = "prompts" if name == "inputs" else name
            found.append(Dataset(shown, uri, digest[:36], context))
    return found


def clean(text: str, max_chars: int = _MAX_TAG_CHARS) -> str:
    """Return text cut to a length, with characters replaced that databases or terminals refuse."""
    return "".join(c if is_printable(c) or c in "\n\t" else "\ufffd" for c in text[:max_chars])
