"""Copies a recipe's inputs into a store, directly or by a bundle for an offline cluster.

A bundle is a folder that is itself a store, with the inputs in `sources/`. Its `inputs.json` maps
each input of the recipe to one of these sources, `images.txt` lists the images with their digests,
and `images/` holds their archives.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Collection, Iterable, Mapping
from concurrent.futures import FIRST_EXCEPTION, CancelledError, ThreadPoolExecutor, wait
from dataclasses import dataclass
from pathlib import Path
from threading import Event
from typing import Any

from lidr.components.evaluate.items.unpinned import unpinned_datasets
from lidr.components.shared.config.profile import Profile
from lidr.components.shared.config.recipe import Recipe
from lidr.components.shared.config.source import on_this_machine, parse_source
from lidr.components.shared.core.errors import BadInput, CorruptStage
from lidr.components.shared.inputs.fetch_plans import FetchPlan, fetch_plan
from lidr.components.shared.inputs.fetching import (
    FILES_AT_ONCE,
    fetch,
    in_bucket,
    is_left_in_place,
)
from lidr.components.shared.inputs.named import NamedInput
from lidr.components.shared.store.base import Store, read_json
from lidr.components.shared.store.cache import scratch_folder
from lidr.components.shared.store.copying import copy_stage
from lidr.components.shared.store.local import LocalStore
from lidr.components.shared.store.marker import MARKER
from lidr.components.shared.store.stage import Stage
from lidr.pipelines.begin import inputs_of
from lidr.pipelines.checks.images import images_of
from lidr.pipelines.image_archives import find_tool, list_images, save_images

_INDEX = "inputs.json"
_REGISTERED = "models:/"
_STOP_SECONDS = 1.0
_COPY_AGAIN = "Copy the bundle again; lidr fetch RECIPE --to DIR makes one."

Advance = Callable[[int], None]
"""Called with the number of bytes that were copied since the last call."""


@dataclass(frozen=True)
class FetchResult:
    """What was done with one input.

    Attributes:
        label: the recipe's key.
        origin: where it comes from.
        bytes: size of all its files; 0 if it stays in place.
        licence: as the recipe or the hub names it, or "unknown".
        outcome: fetched, unpacked, there already, stays there, or stays in MLflow.
        digest: of its stage in the store; "" if it stays in place.
    """

    label: str
    origin: str
    bytes: int
    licence: str
    outcome: str
    digest: str = ""


def fetch_inputs(recipe: Recipe, store: Store, advance: Advance) -> list[FetchResult]:
    """Copy every input of a recipe into a store; several files at once.

    Args:
        recipe: names the inputs.
        store: where to copy them.
        advance: called with progress.

    Raises:
        BadInput: an input cannot be fetched, or is not what the recipe pins.
    """
    named = [each for each in inputs_of(recipe) if not is_left_in_place(each, store)]
    return [*_fetch_all(_plans(recipe, named, store), advance), *_in_place(recipe, named)]


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
        BadInput: an input or an image cannot be fetched, or an existing bundle holds another input
            under the same key.
    """
    tool = find_tool() if archives else ""
    store = LocalStore(folder)
    named = [each for each in inputs_of(recipe) if not in_bucket(each)]
    plans = _plans(recipe, named, store)
    index = read_json(store, _INDEX, {}) or {}
    for each, plan in plans.items():
        if index.setdefault(each.label, plan.stage.digest) != plan.stage.digest:
            raise BadInput(
                f"the bundle holds another {each.label} than the recipe names",
                file=folder / _INDEX,
                remedy="Use another folder, or delete this file to give the bundle to this recipe "
                "alone; what was fetched is kept.",
            )
    results = _fetch_all(plans, advance)
    store.write(_INDEX, json.dumps(index, indent=2).encode())
    images = images_of(profile)
    listed = list_images(store, images, folder / "images")
    if archives:
        save_images(tool, images, listed, folder / "images")
    return [*results, *_in_place(recipe, named)]


def unpack(recipe: Recipe, folder: Path, store: Store, advance: Advance) -> list[FetchResult]:
    """Copy a bundle's inputs into a store, each file verified.

    Raises:
        BadInput: the folder is not a bundle, or lacks an input of the recipe or holds another one,
            or the store has that input from another execution.
        CorruptStage: a file of the bundle is missing or damaged.
    """
    if not (folder / _INDEX).is_file():
        raise BadInput(
            "is not a bundle", file=folder, remedy="Make one: lidr fetch RECIPE --to DIR."
        )
    bundle = LocalStore(folder, writable=False)
    index = read_json(bundle, _INDEX, {}) or {}
    named = [each for each in inputs_of(recipe) if not in_bucket(each)]
    results = []
    try:
        # All sources are checked before any is copied.
        sources = {each: _packed(each, bundle, index) for each in named}
        for each, source in sources.items():
            known = Stage(store, source.prefix).done()
            copy_stage(source, store, advance=advance)
            results.append(_result(each, source, "there already" if known else "unpacked"))
    except CorruptStage as error:
        raise CorruptStage(error.message, remedy=_COPY_AGAIN) from error
    return [*results, *_in_place(recipe, named)]


def _packed(named: NamedInput, bundle: Store, index: Mapping[str, Any]) -> Stage:
    """Return the complete copy of an input in a bundle.

    The copy of a local file is not compared with the file, which may be only where the bundle was
    made.

    Raises:
        BadInput: the bundle lacks the input, holds another one, or was copied in part.
    """
    address, file = parse_source(named.source).address, f"{bundle.uri}/{_INDEX}"
    if named.label not in index:
        raise BadInput(
            f"the bundle lacks {named.label} ({address})",
            file=file,
            remedy="Pack it with this recipe: lidr fetch RECIPE --to DIR.",
        )
    stage = Stage(bundle, f"sources/{index[named.label]}")
    plan = None if on_this_machine(named.source) else fetch_plan(named, bundle)
    if plan and plan.stage.digest != stage.digest:
        raise BadInput(
            f"the bundle holds another {named.label} than the recipe names ({address})",
            file=file,
            remedy="Pack it again with this recipe: lidr fetch RECIPE --to DIR.",
        )
    if not (plan.is_there() if plan else stage.done()):
        raise BadInput(
            f"the bundle's copy of {named.label} is not complete",
            file=f"{stage.uri}/{MARKER}",
            remedy=_COPY_AGAIN,
        )
    return stage


def _plans(
    recipe: Recipe, named: Iterable[NamedInput], store: Store
) -> dict[NamedInput, FetchPlan]:
    """Plan all inputs before any is fetched: a wrong path is reported at once, not after hours.

    Raises:
        BadInput: an input is malformed, not pinned or, if local, missing.
    """
    if unpinned := unpinned_datasets(recipe):
        raise BadInput(
            f"evaluation.tasks read {', '.join(sorted(unpinned))} at the newest revision",
            remedy="Name a commit of each under evaluation.revisions; the newest may change.",
        )
    return {each: fetch_plan(each, store) for each in named}


def _fetch_all(plans: Mapping[NamedInput, FetchPlan], advance: Advance) -> list[FetchResult]:
    """Fetch inputs in parallel; no further file is begun after the first error, or Ctrl-C."""
    stopped = Event()

    def advance_unless_stopped(size: int) -> None:
        if stopped.is_set():
            raise CancelledError  # ends a download between two pieces
        advance(size)

    files, inputs = ThreadPoolExecutor(FILES_AT_ONCE), ThreadPoolExecutor(max(len(plans), 1))
    try:
        jobs = [
            inputs.submit(_fetch_one, named, plan, files, advance_unless_stopped)
            for named, plan in plans.items()
        ]
        done = wait(jobs, return_when=FIRST_EXCEPTION).done
    finally:
        stopped.set()
        for pool in (files, inputs):
            pool.shutdown(wait=False, cancel_futures=True)
    if wait(jobs, timeout=_STOP_SECONDS).not_done:  # the hub's client cannot be stopped
        note = "downloads from the hub that have begun are completed first; Ctrl-C ends at once"
        print(f"lidr: note: {note}", file=sys.stderr, flush=True)
    return [job.result() for job in jobs if job in done]


def _fetch_one(
    named: NamedInput, plan: FetchPlan, files: ThreadPoolExecutor, advance: Advance
) -> FetchResult:
    known = plan.stage.done()
    fetch(plan, files, scratch_folder(), advance)
    return _result(named, plan.stage, "there already" if known else "fetched")


def _result(named: NamedInput, stage: Stage, outcome: str) -> FetchResult:
    marker = stage.marker()
    licence = str(dict(marker.get("facts") or {}).get("licence") or "unknown")
    size = int(marker["counts"]["bytes"])
    origin = parse_source(named.source).address
    return FetchResult(named.label, origin, size, licence, outcome, stage.digest)


def _in_place(recipe: Recipe, copied: Collection[NamedInput]) -> list[FetchResult]:
    """Return the inputs that are read from where they are: in a bucket, a folder or MLflow."""
    rest = [(each.label, each.source) for each in inputs_of(recipe) if each not in copied]
    model, icr = recipe.model, recipe.pairing.icr
    registered = {
        "model.source": model.source,
        "model.adapter": model.adapter,
        "pairing.icr.policy": icr.policy,
        "pairing.icr.reference": icr.reference,
    }
    rest += [(label, uri) for label, uri in registered.items() if uri.startswith(_REGISTERED)]
    results = []
    for label, text in rest:
        source = parse_source(text)
        outcome = "stays in MLflow" if text.startswith(_REGISTERED) else "stays there"
        licence = source.licence or "unknown"
        results.append(FetchResult(label, source.address, 0, licence, outcome))
    return results
