"""Copies what a recipe names into a store, into a bundle for an offline cluster, and out of it.

A bundle is a folder that is a store with `sources/`; `inputs.json` maps each input of the recipe to
one of them, `images.txt` lists the images with their digests, and `images/` holds their archives.
"""

from __future__ import annotations

import json
import shutil
import subprocess
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from lidr.components.evaluate.items.unpinned import unpinned_datasets
from lidr.components.shared.config.profile import Profile
from lidr.components.shared.config.recipe import Recipe
from lidr.components.shared.config.source import parse_source
from lidr.components.shared.core.errors import BadInput
from lidr.components.shared.core.json_files import read_object
from lidr.components.shared.inputs.fetch_plans import fetch_plan
from lidr.components.shared.inputs.fetching import (
    FILES_AT_ONCE,
    copy,
    fetch,
    in_bucket,
    scratch_folder,
    stays,
)
from lidr.components.shared.inputs.named import NamedInput
from lidr.components.shared.store.base import Store
from lidr.components.shared.store.local import LocalStore
from lidr.components.shared.store.stage import Stage
from lidr.pipelines.begin import inputs_of
from lidr.pipelines.checks.images import images_of, registry_digest

_INDEX = "inputs.json"
_IMAGES = "images.txt"
_REGISTRY_SECONDS = 20.0

Advance = Callable[[int], None]
"""Called with the number of bytes that were copied since the last call."""
StaysInPlace = Callable[[NamedInput, Store], bool]


@dataclass(frozen=True)
class FetchResult:
    """What was done with one input.

    Attributes:
        label: the recipe's key.
        origin: where it comes from.
        bytes: size of all its files; 0 if it stays in place.
        licence: as the recipe or the hub names it, or "unknown".
        outcome: fetched, unpacked, there already, or stays there.
        digest: of its place in the store; "" if it stays in place.
    """

    label: str
    origin: str
    bytes: int
    licence: str
    outcome: str
    digest: str = ""


def fetch_inputs(
    recipe: Recipe, store: Store, advance: Advance, stays_in_place: StaysInPlace = stays
) -> list[FetchResult]:
    """Copy every input of a recipe into a store; several files at once.

    Args:
        recipe: names the inputs.
        store: where to copy them.
        advance: called with progress.
        stays_in_place: whether an input is read from where it is.

    Raises:
        BadInput: one cannot be fetched, or is not what the recipe pins.
    """
    if unpinned := unpinned_datasets(recipe):
        raise BadInput(
            f"evaluation.tasks read {', '.join(sorted(unpinned))} at the newest revision",
            remedy="Name a commit of each under evaluation.revisions; the newest may change.",
        )
    named = inputs_of(recipe)
    with ThreadPoolExecutor(FILES_AT_ONCE) as files, ThreadPoolExecutor(max(len(named), 1)) as all_:
        jobs = [
            all_.submit(_fetch_one, each, store, files, advance)
            for each in named
            if not stays_in_place(each, store)
        ]
        rest = [_in_place(each) for each in named if stays_in_place(each, store)]
        return [*(job.result() for job in jobs), *rest]


def pack(
    recipe: Recipe, profile: Profile, folder: Path, *, archives: bool, advance: Advance
) -> list[FetchResult]:
    """Make a bundle.

    Args:
        recipe: whose inputs it holds.
        profile: whose images it lists.
        folder: of the bundle; an existing bundle is completed.
        archives: whether to add archives of the images.
        advance: called with progress.

    Raises:
        BadInput: an input or an image cannot be fetched.
    """
    store = LocalStore(folder)
    results = fetch_inputs(recipe, store, advance, lambda each, _: in_bucket(each))
    index = {each.label: each.digest for each in results if each.digest}
    store.write(_INDEX, json.dumps(index, indent=2).encode())
    images = images_of(profile)
    pinned = [
        f"{image} {registry_digest(image, _REGISTRY_SECONDS) or 'unknown'}" for image in images
    ]
    store.write(_IMAGES, "".join(f"{line}\n" for line in pinned).encode())
    if archives:
        _save(images, folder / "images")
    return results


def unpack(recipe: Recipe, folder: Path, store: Store, advance: Advance) -> list[FetchResult]:
    """Copy a bundle's inputs into a store, each file verified.

    Raises:
        BadInput: the folder is not a bundle, or lacks an input of the recipe.
    """
    if not (folder / _INDEX).is_file():
        raise BadInput(
            "is not a bundle", file=folder, remedy="Make one: lidr fetch RECIPE --to DIR."
        )
    bundle = LocalStore(folder)
    index = read_object(bundle.read(_INDEX), str(folder / _INDEX), {})
    results = []
    for each in inputs_of(recipe):
        if in_bucket(each):
            results.append(_in_place(each))
            continue
        if each.label not in index:
            raise BadInput(
                f"the bundle lacks {each.label} ({parse_source(each.source).address})",
                file=folder / _INDEX,
                remedy="Make the bundle with this recipe.",
            )
        source = Stage(bundle, f"sources/{index[each.label]}")
        target = Stage(store, source.prefix)
        known = target.done()
        copy(source, target, advance, scratch_folder())
        results.append(_result(each, source, "there already" if known else "unpacked"))
    return results


def _fetch_one(
    named: NamedInput, store: Store, files: ThreadPoolExecutor, advance: Advance
) -> FetchResult:
    plan = fetch_plan(named, store)
    known = plan.stage.done()
    fetch(plan, files, scratch_folder(), advance)
    return _result(named, plan.stage, "there already" if known else "fetched")


def _result(named: NamedInput, stage: Stage, outcome: str) -> FetchResult:
    marker = stage.marker()
    licence = str(dict(marker.get("facts") or {}).get("licence") or "unknown")
    size = int(marker["counts"]["bytes"])
    origin = parse_source(named.source).address
    return FetchResult(named.label, origin, size, licence, outcome, stage.digest)


def _in_place(named: NamedInput) -> FetchResult:
    source = parse_source(named.source)
    return FetchResult(named.label, source.address, 0, source.licence or "unknown", "stays there")


def _save(images: Iterable[str], folder: Path) -> None:
    """Save images as archives, with the first engine that is installed."""
    engine = next((name for name in ("skopeo", "podman", "docker") if shutil.which(name)), "")
    if not engine:
        raise BadInput(
            "none of skopeo, podman and docker, which save images, is installed",
            remedy="Install one, or leave --archives out.",
        )
    folder.mkdir(parents=True, exist_ok=True)
    for image in images:
        archive = folder / f"{image.replace('/', '_').replace(':', '_')}.tar"
        if archive.exists():
            continue
        part = archive.with_suffix(".part")
        part.unlink(missing_ok=True)
        for command in _commands(engine, image, part):
            done = subprocess.run(command, capture_output=True, text=True)
            if done.returncode:
                said = (done.stderr.strip().splitlines() or ["no reason"])[-1]
                raise BadInput(
                    f"{command[0]} cannot save {image}: {said}",
                    remedy="Log in to its registry, or correct images in the profile.",
                )
        part.replace(archive)


def _commands(engine: str, image: str, archive: Path) -> list[list[str]]:
    if engine == "skopeo":
        name = "" if "@" in image else f":{image}"  # such an archive holds no digest's name
        return [[engine, "copy", f"docker://{image}", f"docker-archive:{archive}{name}"]]
    return [[engine, "pull", image], [engine, "save", "--output", str(archive), image]]
