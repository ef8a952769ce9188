"""What a recipe names, on its way into a store, into a bundle for a cut-off cluster, and out of it.

A bundle is a folder: a store of its own with `sources/`, `inputs.json` that says which input of the
recipe each of them is, `images.txt` with the images and their digests, and `images/` with archives.
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
from lidr.components.shared.inputs.fetch_plans import plan_of
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
from lidr.pipelines.checks.servers import images_of, registry_digest

_INDEX = "inputs.json"
_IMAGES = "images.txt"
_SECONDS = 20.0

Advance = Callable[[int], None]
Staying = Callable[[NamedInput, Store], bool]


@dataclass(frozen=True)
class Brought:
    """What became of one input.

    Attributes:
        label: the recipe's key.
        origin: where it is from.
        bytes: of all its files; 0 where it stays.
        licence: as the recipe or the hub says it; "unknown" where nobody does.
        outcome: fetched, there already, or stays.
        digest: of its place in the store; "" where it stays.
    """

    label: str
    origin: str
    bytes: int
    licence: str
    outcome: str
    digest: str = ""


def bring(
    recipe: Recipe, store: Store, advance: Advance, staying: Staying = stays
) -> list[Brought]:
    """Bring every input of a recipe into a store; several files at once.

    Args:
        recipe: names them.
        store: it.
        advance: is told of progress, in bytes.
        staying: tells which ones are left where they are.

    Raises:
        BadInput: one cannot be had, or is not what the recipe pins.
    """
    if unpinned := unpinned_datasets(recipe):
        raise BadInput(
            f"evaluation.tasks read {', '.join(sorted(unpinned))} at the newest revision",
            remedy="Name a commit of each under evaluation.revisions: what moves cannot be kept.",
        )
    named = inputs_of(recipe)
    with ThreadPoolExecutor(FILES_AT_ONCE) as files, ThreadPoolExecutor(max(len(named), 1)) as all_:
        jobs = [
            all_.submit(_bring, each, store, files, advance)
            for each in named
            if not staying(each, store)
        ]
        rest = [_staying(each) for each in named if staying(each, store)]
        return [*(job.result() for job in jobs), *rest]


def pack(
    recipe: Recipe, profile: Profile, folder: Path, *, archives: bool, advance: Advance
) -> list[Brought]:
    """Make a bundle.

    Args:
        recipe: whose inputs it holds.
        profile: whose images it lists.
        folder: of the bundle; a bundle that is there is completed.
        archives: whether it holds the images themselves.
        advance: is told of progress, in bytes.

    Raises:
        BadInput: an input or an image cannot be had.
    """
    store = LocalStore(folder)
    brought = bring(recipe, store, advance, lambda each, _: in_bucket(each))
    index = {each.label: each.digest for each in brought if each.digest}
    store.write(_INDEX, json.dumps(index, indent=2).encode())
    images = images_of(profile)
    pinned = [f"{image} {registry_digest(image, _SECONDS) or 'unknown'}" for image in images]
    store.write(_IMAGES, "".join(f"{line}\n" for line in pinned).encode())
    if archives:
        _save(images, folder / "images")
    return brought


def unpack(recipe: Recipe, folder: Path, store: Store, advance: Advance) -> list[Brought]:
    """Copy a bundle's inputs into a store, each file verified.

    Raises:
        BadInput: the folder is no bundle, or lacks an input of the recipe.
    """
    if not (folder / _INDEX).is_file():
        raise BadInput("is no bundle", file=folder, remedy="Make one: lidr fetch RECIPE --to DIR.")
    bundle = LocalStore(folder)
    index = read_object(bundle.read(_INDEX), str(folder / _INDEX), {})
    brought = []
    for each in inputs_of(recipe):
        if in_bucket(each):
            brought.append(_staying(each))
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
        brought.append(_row(each, source, "there already" if known else "unpacked"))
    return brought


def _bring(named: NamedInput, store: Store, files: ThreadPoolExecutor, advance: Advance) -> Brought:
    plan = plan_of(named, store)
    known = plan.stage.done()
    fetch(plan, files, scratch_folder(), advance)
    return _row(named, plan.stage, "there already" if known else "fetched")


def _row(named: NamedInput, stage: Stage, outcome: str) -> Brought:
    marker = stage.marker()
    licence = str(dict(marker.get("facts") or {}).get("licence") or "unknown")
    size = int(marker["counts"]["bytes"])
    origin = parse_source(named.source).address
    return Brought(named.label, origin, size, licence, outcome, stage.digest)


def _staying(named: NamedInput) -> Brought:
    source = parse_source(named.source)
    return Brought(named.label, source.address, 0, source.licence or "unknown", "stays there")


def _save(images: Iterable[str], folder: Path) -> None:
    """Save images as archives by whichever engine is here."""
    engine = next((name for name in ("skopeo", "podman", "docker") if shutil.which(name)), "")
    if not engine:
        raise BadInput(
            "no skopeo, podman or docker here, which make archives",
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
        return [[engine, "copy", f"docker://{image}", f"docker-archive:{archive}:{image}"]]
    return [[engine, "pull", image], [engine, "save", "--output", str(archive), image]]
