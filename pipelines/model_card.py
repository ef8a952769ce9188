"""A registered version's model card: what it was made from, its results, how to reproduce it.

The format is the hub's (https://huggingface.co/docs/hub/model-cards): YAML, then Markdown.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from typing import Any

import yaml

from lidr.components.shared.config.pairing import RewarderName
from lidr.components.shared.config.recipe import Recipe
from lidr.components.shared.config.source import parse_source
from lidr.components.shared.core.errors import BadInput
from lidr.components.shared.core.languages import NAMES
from lidr.components.shared.core.text import one_line
from lidr.components.shared.inputs.fetched import find_fetched
from lidr.components.shared.inputs.named import InputKind, named_inputs
from lidr.components.shared.registry.ancestry import Ancestry
from lidr.components.shared.store.runs import read_state, recipe_key
from lidr.components.shared.store.stage import open_stage

_UNKNOWN = "unknown"
_METHODS: dict[RewarderName, str] = {
    "lidr": " and translations by Language Imbalance Driven Rewarding "
    "(https://arxiv.org/abs/2410.08964)",
    "icr": ", ranked by the implicit reward of a model that was tuned on preferences "
    "(https://arxiv.org/abs/2503.04647)",
    "judge": ", ranked by the grades of another language model",
}
_WEAKNESSES: dict[RewarderName, str] = {
    "lidr": "Its reward is the model's own strength in its dominant language: what the model gets "
    "wrong there, it learns in the other languages, too.",
    "icr": "Its reward is another model's implicit reward: what that model prefers wrongly, this "
    "one learns.",
    "judge": "Its reward is another model's grades: what that model grades wrongly, this one "
    "learns.",
}


def model_card(found: Ancestry, *, merged: bool = False) -> str:
    """Return a version's card.

    Args:
        found: its lineage.
        merged: whether the files have the adapter merged into the weights; it was evaluated beside
            them.
    """
    recipe = _recipe(found)
    tags = found.version.tags
    front = {
        "base_model": _hub_name(_base(found, recipe)),
        "language": tags.get("lidr.languages", "").split(","),
        "license": _base_licence(recipe) if recipe else _UNKNOWN,
        "pipeline_tag": "text-generation",
        "tags": ["lidr", "dpo", "multilingual", "self-improvement"],
    }
    head = yaml.safe_dump({key: value for key, value in front.items() if value}, allow_unicode=True)
    body = "\n".join(_body(found, recipe, merged))
    return f"---\n{head}---\n\n{body}\n"


def _body(found: Ancestry, recipe: Recipe | None, merged: bool) -> Iterator[str]:
    version, tags = found.version, found.version.tags
    iteration = tags.get("lidr.iteration", "0")
    yield f"# {version.name}, version {version.number}"
    yield ""
    yield (
        f"M_{iteration} of a run of lidr: a language model that was trained on its own answers"
        f"{_METHODS[recipe.pairing.rewarder if recipe else 'lidr']}, without human labels."
    )
    yield from _section("Base model", _base_lines(found, recipe))
    yield from _section("Data", _data_lines(recipe))
    yield from _section("Results", _result_lines(found))
    yield from _section("Limits", _limit_lines(found, recipe, merged))
    yield from _section("How to reproduce it", _reproduce_lines(found))
    if recipe:
        text = yaml.safe_dump(json.loads(recipe.model_dump_json(exclude_defaults=True)))
        yield from _section("Recipe", iter(["```yaml", text.rstrip(), "```"]))


def _section(title: str, lines: Iterator[str]) -> Iterator[str]:
    yield from ("", f"## {title}", "")
    yield from lines


def _recipe(found: Ancestry) -> Recipe | None:
    """Return the recipe of a run that made the version, if the store has one."""
    for run in found.runs:
        try:
            return Recipe.model_validate_json(found.store.read(recipe_key(run)))
        except (FileNotFoundError, ValueError):
            continue
    return None


def _base(found: Ancestry, recipe: Recipe | None) -> str:
    named = recipe.model.source if recipe else found.version.tags.get("lidr.base_model", "")
    return _origin(named)[0] or named


def _hub_name(source: str) -> str:
    return source.removeprefix("hf://").partition("@")[0] if source.startswith("hf://") else ""


def _base_licence(recipe: Recipe) -> str:
    licence = _origin(recipe.model.source)[1]
    return "other" if licence == _UNKNOWN else licence


def _origin(source: str) -> tuple[str, str]:
    """Return a source's origin and licence, as the recipe or the hub names them."""
    named = parse_source(source)
    if held := find_fetched(named.address):
        facts = dict(held[0].marker().get("facts") or {})
        return str(facts.get("origin", named.address)), str(facts.get("licence") or _UNKNOWN)
    return named.address, named.licence or _UNKNOWN


def _base_lines(found: Ancestry, recipe: Recipe | None) -> Iterator[str]:
    if recipe and recipe.is_toy:
        yield "The tiny world's synthetic M_0, which lidr makes itself."
        return
    licence = _origin(recipe.model.source)[1] if recipe else _UNKNOWN
    yield f"`{one_line(_base(found, recipe))}`, licence: {one_line(licence)}."
    if licence == _UNKNOWN:
        yield (
            "The licence of the base model also holds for this model: look it up before passing "
            "the model on."
        )


def _data_lines(recipe: Recipe | None) -> Iterator[str]:
    translated = recipe is None or recipe.pairing.rewarder == "lidr"
    yield (
        "Trained on the model's own responses to the prompts below"
        f"{' and its own translations of them' if translated else ''}. "
        "The licences of prompts and items are those that the recipe or their host names."
    )
    named = (
        [each for each in named_inputs(recipe) if each.kind is not InputKind.MODEL]
        if recipe
        else []
    )
    if not named:
        yield "The tiny world's own prompts and items." if recipe else "Not known any more."
        return
    yield from ("", "| input | from | licence |", "|---|---|---|")
    for each in named:
        origin, licence = _origin(each.source)
        yield f"| {each.label} | {_cell(origin)} | {_cell(licence)} |"


def _cell(text: str) -> str:
    return one_line(text).replace("|", "\\|")


def _result_lines(found: Ancestry) -> Iterator[str]:
    now, base = _own_scores(found), _start_scores(found)
    if not now:
        yield "This version's evaluation is not on the store any more."
        return
    yield "Accuracy in percent with 95% intervals, and the share of answers in another language."
    yield from (
        "",
        "| language | M_0 | this version | off-target | items |",
        "|---|---|---|---|---|",
    )
    for code, scores in now.items():
        before = _interval(base[code]["accuracy"]) if code in base else "not known"
        off = 100 * scores["off_target"]["value"]
        accuracy = scores["accuracy"]
        yield (
            f"| {NAMES.get(code, code)} | {before} | {_interval(accuracy)} | {off:.1f}% "
            f"| {accuracy['n']} |"
        )
    verdict = found.version.tags.get("lidr.gate_verdict", "")
    yield from ("", f"The gate's verdict against the model before: {verdict or 'none'}.")


def _start_scores(found: Ancestry) -> Mapping[str, Any]:
    """Return the scores of the run's M_0 by language; {} if they are not on the store."""
    for run in found.runs:
        try:
            uri = str(read_state(found.store, run, 0)["evaluation"])
            return dict(open_stage(uri).counts()["languages"])
        except (BadInput, KeyError):
            continue
    return {}


def _own_scores(found: Ancestry) -> Mapping[str, Any]:
    """Return the version's scores by language; {} if they are not on the store."""
    for node in found.graph:
        own = found.version.tags.get("lidr.evaluation_digest")
        if node.step == "evaluate" and node.digest == own:
            return dict(node.section("counts").get("languages") or {})
    return {}


def _interval(accuracy: Mapping[str, float]) -> str:
    value, low, high = (100 * accuracy[name] for name in ("value", "low", "high"))
    return f"{value:.1f} ({low:.1f} to {high:.1f})"


def _limit_lines(found: Ancestry, recipe: Recipe | None, merged: bool) -> Iterator[str]:
    codes = found.version.tags.get("lidr.languages", "").split(",")
    names = ", ".join(NAMES.get(code, code) for code in codes)
    yield f"- Trained and measured in {names}; nothing is known of other languages."
    tasks = ", ".join(f"`{name}`" for name in recipe.evaluation.tasks) if recipe else "its tasks"
    yield f"- Measured on {tasks} alone. Safety was not evaluated."
    yield f"- {_WEAKNESSES[recipe.pairing.rewarder if recipe else 'lidr']}"
    if merged:
        yield (
            "- Evaluated with its adapter beside the weights. In these files the adapter is merged "
            "into the weights; bfloat16 weights are rounded up or down at random, which keeps the "
            "adapter's effect on average."
        )


def _reproduce_lines(found: Ancestry) -> Iterator[str]:
    tags = found.version.tags
    yield from (
        "Save the recipe below; then `lidr run recipe.yaml` or `lidr submit recipe.yaml`.",
        "",
    )
    for label, key in (
        ("commit of lidr", "lidr.git_sha"),
        ("digest of the recipe", "lidr.recipe_digest"),
        ("digest of the model's stage", "lidr.model_digest"),
    ):
        yield f"- {label}: `{tags.get(key) or _UNKNOWN}`"
    versions = {name: v for node in found.graph for name, v in node.section("versions").items()}
    listed = ", ".join(f"{name} {number}" for name, number in sorted(versions.items()))
    yield f"- libraries: {listed or _UNKNOWN}"
