"""The inputs that commands share: recipes, profiles, overrides and run names."""

from __future__ import annotations

import os
import re
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from lidr.components.shared.config import yaml_text
from lidr.components.shared.config.profile import load_profile
from lidr.components.shared.config.recipe import load_recipe
from lidr.components.shared.config.source import on_this_machine
from lidr.components.shared.core.errors import BadInput
from lidr.components.shared.core.names import require_run_name
from lidr.components.shared.inputs.named import InputKind, named_inputs
from lidr.pipelines.cli.outputs import say

if TYPE_CHECKING:
    from lidr.components.shared.config.profile import Profile
    from lidr.components.shared.config.recipe import Recipe

_PIPELINES = Path(__file__).resolve().parent.parent

RecipeArgument = Annotated[
    str, typer.Argument(metavar="RECIPE", help="A recipe file, or the name of a shipped one.")
]
ProfileOption = Annotated[
    list[str],
    typer.Option(
        "--profile",
        help="A profile file, or the name of a shipped one; repeatable, and later ones win.",
    ),
]
LOCAL, CLUSTER = ["local"], ["cluster"]
"""Profiles used if none is given."""
UNSET: list[str] = []
"""Default of --profile in commands that let `or_default` choose."""
SeedOption = Annotated[
    int | None, typer.Option("--seed", min=0, help="Replaces the recipe's seed.")
]
SetOption = Annotated[
    list[str] | None,
    typer.Option("--set", metavar="KEY=VALUE", help="Replaces a key of the recipe; repeatable."),
]


def not_empty(option: typer.CallbackParam, value: str | None) -> str | None:
    """Refuse an empty option, such as one from an unset variable; return any other.

    Raises:
        BadInput: it is empty.
    """
    if value == "":
        place = "s3://bucket/prefix" if option.name == "store" else "hf://org/name"
        raise BadInput(f"{option.opts[0]} is empty", remedy=f"Name a folder or {place}.")
    return value


StoreOption = Annotated[
    str | None,
    typer.Option(
        "--store",
        help="Folder or s3://bucket/prefix. Default: the profile's.",
        callback=not_empty,
    ),
]
RunOption = Annotated[
    str | None, typer.Option("--run", help="Name of the run. Default: from recipe and seed.")
]

_FINAL_SLASHES = re.compile(r"(?<=[^/:])/+$")
"""Slashes at the end of a folder or URI, except those of `/` and `s3://` themselves."""


def read_recipe(given: str, seed: int | None, settings: Sequence[str] | None) -> Recipe:
    """Load a recipe by path or shipped name, with --seed and --set applied.

    Raises:
        BadInput: it does not exist or is invalid.
    """
    overrides = parse_settings(settings or [])
    if seed is not None:
        overrides["seed"] = seed
    return load_recipe(_find(given, "recipes"), overrides)


def or_default(profile: list[str]) -> list[str]:
    """Return the given profiles; if none, the cluster's if LIDR_KFP_HOST is set, else `local`."""
    return profile or (CLUSTER if os.environ.get("LIDR_KFP_HOST") else LOCAL)


def read_profile(*given: str, store: str | None = None) -> Profile:
    """Load a profile by path or shipped name; if there are several layers, later ones win.

    Args:
        *given: the paths or names.
        store: URI that replaces the profile's store.

    Raises:
        BadInput: one does not exist or is invalid.
    """
    profile = load_profile(*(_find(each, "profiles") for each in given))
    place = profile.store if store is None else store
    place = _FINAL_SLASHES.sub("", place)  # stores are compared as text, e.g. to continue a run
    return profile.model_copy(update={"store": place})


def parse_settings(settings: Sequence[str]) -> dict[str, object]:
    """Parse `key=value` options; values are YAML.

    Raises:
        BadInput: there is no `=`, or the value is not YAML.
    """
    parsed: dict[str, object] = {}
    for setting in settings:
        key, found, value = setting.partition("=")
        if not found or not key.strip():
            raise BadInput(f"--set {setting}: no key=value", remedy="Write --set training.beta=0.2")
        try:
            parsed[key.strip()] = yaml_text.parse(value)
        except yaml_text.NotYaml as error:
            raise BadInput(
                f"--set {setting}: the value is not YAML: {error.problem}", remedy=error.remedy
            ) from error
    return parsed


def run_name(given: str | None, recipe: Recipe) -> str:
    """Return the run's name: the given one, or by default one that equal recipes share.

    Raises:
        BadInput: the given name cannot be a folder's name.
    """
    if given is None:
        return recipe.run_name
    require_run_name(given)
    return given


def _find(given: str, folder: str) -> Path:
    path = Path(given)
    shipped = {file.stem: file for file in sorted((_PIPELINES / folder).glob("*.yaml"))}
    named = path.suffix in (".yaml", ".yml") or len(path.parts) > 1
    if named or os.path.isfile(given):  # noqa: PTH113  # Path's refuses a name that is too long
        return path
    if found := shipped.get(given.replace("-", "_")):
        return found
    raise BadInput(
        f"no {folder[:-1]} {given!r}: no such file; the shipped ones are {', '.join(shipped)}",
        remedy="Give a path, or one of these names.",
    )


def note_local_inputs(recipe: Recipe) -> None:
    """Report which inputs are files on this machine, which pods cannot read."""
    kinds = (InputKind.PROMPTS, InputKind.QUESTIONS, InputKind.ITEMS)
    named = [each for each in named_inputs(recipe) if each.kind in kinds]
    local = [each.label for each in named if on_this_machine(each.source)]
    if local:
        say(
            f"lidr: note: {', '.join(local)} name files of this machine; `lidr fetch` brings them "
            "to where pods can read them",
            error=True,
        )
