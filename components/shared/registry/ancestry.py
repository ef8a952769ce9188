"""The lineage of a registered version: its stages, the runs that made it, and their recipes."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from lidr.components.shared.core.digest import digest_of_uri
from lidr.components.shared.core.errors import BadInput, DamagedObject, StoreError
from lidr.components.shared.lineage.graph import Graph, Presence, stage_of, trace
from lidr.components.shared.lineage.verify import LineageFinding, recipe_fault
from lidr.components.shared.registry.registration import AUDIT_LOG_TAG
from lidr.components.shared.registry.versions import (
    COPIED_FROM_TAG,
    DIGEST_TAG,
    Version,
    all_versions,
    files_of,
    read_model,
)
from lidr.components.shared.steps import STEPS
from lidr.components.shared.store.base import Store
from lidr.components.shared.store.marker import current_uri
from lidr.components.shared.store.open import is_missing_folder, open_store
from lidr.components.shared.store.runs import (
    FOLDER,
    read_state,
    recipe_key,
    run_names,
    state_key,
)

JUDGING_TAGS = {step.name: step.digest_tag for step in STEPS if step.about and step.digest_tag}
"""The version's tag with a stage's digest, by step, for the steps whose stages judge a version."""

_POINTERS = {"model": DIGEST_TAG, "evaluation": "lidr.evaluation_digest"}
_ITERATION_TAG = "lidr.iteration"
_STORE_OF_REGISTRY = (
    "The registry names this store: name the one that has the stages with --store, or run "
    "`lidr relocate`."
)


@dataclass(frozen=True)
class Ancestry:
    """Everything that a version was made from.

    Attributes:
        version: the registered version.
        store: the store with its stages.
        model: URI of the stage that holds its model.
        graph: that stage, the stages that judged it, and all that they were made from.
        runs: names of the runs on the store whose state names the version.
        findings: where the runs' records disagree with the registry; empty if one run agrees. No
            stage's files are read.
    """

    version: Version
    store: Store
    model: str
    graph: Graph
    runs: tuple[str, ...]
    findings: tuple[LineageFinding, ...]


def read_ancestry(client: Any, version: Version, store: str = "") -> Ancestry:
    """Return the lineage of a version.

    Args:
        client: of MLflow.
        version: the registered version.
        store: URI of the store with its stages; "" for the one that the registry names.

    Raises:
        BadInput: the registry names no store, the store or the stage with the model is gone, or the
            tag with the iteration is no number.
    """
    remedy = "Correct --store." if store else _STORE_OF_REGISTRY
    home = open_existing(store or store_uri(client, version), remedy=remedy)
    model = model_stage_of(version, home)
    if not model.startswith(f"{home.uri}/"):
        raise BadInput(
            f"the store {home.uri} has no stage with the model of {version.label}", remedy=remedy
        )
    graph = trace([model, *judging_stages_of(version, home)])
    if graph.nodes[model].presence is Presence.GONE:
        raise BadInput(
            f"the stage with the model of {version.label} is gone: {model}",
            remedy="Restore it, or name the store that holds it with --store.",
        )
    runs, findings = _runs_of(home, version)
    return Ancestry(version, home, model, graph, runs, findings)


def store_uri(client: Any, version: Version) -> str:
    """Return the URI of the store with a version's stages.

    For a model from outside, other versions or the audit log name the store.

    Raises:
        BadInput: nothing names the store.
    """
    stage = own_stage(version)
    if not stage:  # only then: a model may have thousands of versions
        others = map(own_stage, all_versions(client, version.name))
        stage = next(filter(None, others), "")
    if stage:
        return stage.rpartition("/stages/")[0]
    audit_log = read_model(client, version.name).tags.get(AUDIT_LOG_TAG, "")
    root, found, _ = audit_log.rpartition("/registry/")
    if found:
        return root
    raise BadInput(
        f"nothing in MLflow says which store has the stages of {version.label}",
        remedy="Name it with --store.",
    )


def open_existing(uri: str, *, remedy: str = "Correct --store.") -> Store:
    """Open a store that must exist: a missing folder is not created.

    Args:
        uri: URI of the store.
        remedy: the remedy if it does not exist.

    Raises:
        BadInput: it does not exist.
    """
    if is_missing_folder(uri):
        raise BadInput(f"there is no store at {uri}", remedy=remedy)
    return open_store(uri)


def model_stage_of(version: Version, home: Store) -> str:
    """Return the URI of the stage that holds a version's model, in the given store if it is there.

    Raises:
        BadInput: the version was not registered by lidr.
    """
    if stage := own_stage(version):
        return current_uri(home, stage)
    digest = version.tags.get(DIGEST_TAG, "")
    if not digest:
        raise BadInput(
            f"{version.label} was not registered by lidr: it has no tag {DIGEST_TAG}",
            remedy="Name another version.",
        )
    return f"{home.uri}/stages/prepare/{digest}"  # from outside: `prepare` holds it


def judging_stages_of(version: Version, home: Store) -> list[str]:
    """Return the URIs of the stages that judged a version: evaluation, judgements, gate."""
    digests = {step: version.tags.get(tag, "") for step, tag in JUDGING_TAGS.items()}
    return [f"{home.uri}/stages/{step}/{digest}" for step, digest in digests.items() if digest]


def own_stage(version: Version) -> str:
    """Return the URI of the stage with a version's files; "" for a model from outside."""
    digest = version.tags.get(DIGEST_TAG, "")
    for uri in reversed(
        files_of(version)
    ):  # the adapter first: beside it, the source is another stage's base model
        stage = stage_of(uri)
        if stage and digest in ("", digest_of_uri(stage)):
            return stage
    return ""


def _runs_of(store: Store, version: Version) -> tuple[tuple[str, ...], tuple[LineageFinding, ...]]:
    """Return the runs that name a version, and where they disagree with the registry.

    Runs with other recipes may make the same model, and so share its version. The version's tags
    are those of the run that registered it: if one run agrees with them, the others need not. If
    the version is a copy, its run names the original, and may be on another store than the files.
    """
    runs: list[str] = []
    findings: list[LineageFinding] = []
    agreed = False
    iteration = _iteration_of(version)
    for run in run_names(store):
        try:
            state = _read_state(store, run, iteration)
        except StoreError:
            raise
        except BadInput:  # it may be the run that registered the version
            what = f"has a damaged state of iteration {iteration}"
            findings.append(LineageFinding(f"{store.uri}/{FOLDER}/{run}", what))
            continue
        if _names(state, version):
            runs.append(run)
            different = _differences(store, run, state, version)
            agreed = agreed or not different
            findings += different
    if agreed:
        return tuple(runs), ()
    if not findings and COPIED_FROM_TAG not in version.tags:
        findings = [LineageFinding(f"{store.uri}/runs", f"has no run that names {version.label}")]
    return tuple(runs), tuple(findings)


def _iteration_of(version: Version) -> int:
    text = version.tags.get(_ITERATION_TAG, "") or "0"
    if not (text.isascii() and text.isdigit()):  # anybody may have changed the tag
        raise BadInput(
            f"{version.label} has the tag {_ITERATION_TAG} {text!r}, which is no iteration",
            remedy="Correct it in MLflow: M_0 has 0.",
        )
    return int(text)


def _names(state: Mapping[str, Any], version: Version) -> bool:
    """Return whether a run's state names a version, or one that it is a copy of."""
    named = state.get("version", "")
    originals = f"{version.tags.get(COPIED_FROM_TAG, '')} "
    return named == version.label or (bool(named) and f" {named} " in originals)


def _read_state(store: Store, run: str, iteration: int) -> dict[str, Any]:
    """Return the state of a run's iteration.

    It is {} if the run did not reach this iteration, or the folder is not a run's.
    """
    try:
        key = state_key(run, iteration)
    except BadInput:  # a folder of somebody's own
        return {}
    return read_state(store, run, iteration) if store.exists(key) else {}


def _differences(
    store: Store, run: str, state: dict[str, Any], version: Version
) -> list[LineageFinding]:
    findings = [
        LineageFinding(
            f"{store.uri}/runs/{run}", f"names another {name} than the registered version"
        )
        for name, tag in _POINTERS.items()
        if digest_of_uri(str(state.get(name, ""))) != version.tags.get(tag)
    ]
    try:
        data = store.read(recipe_key(run))
    except FileNotFoundError:
        return [*findings, LineageFinding(f"{store.uri}/{recipe_key(run)}", "is gone")]
    except DamagedObject:
        data = b""
    if what := recipe_fault(data, version.tags.get("lidr.recipe_digest", "")):
        findings.append(LineageFinding(f"{store.uri}/{recipe_key(run)}", what))
    return findings
