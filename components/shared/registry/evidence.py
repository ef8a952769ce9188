"""Checks of a registered version: the gate's decision, and whether its files exist."""

from __future__ import annotations

import re
from pathlib import Path
from typing import NamedTuple

from lidr.components.shared.core.errors import BadInput, CorruptStage
from lidr.components.shared.core.text import some_of
from lidr.components.shared.core.uris import has_scheme
from lidr.components.shared.inputs.fetched import locate_source
from lidr.components.shared.models.admission import check_adapter, check_model
from lidr.components.shared.registry.versions import VERDICT_TAG, Version, files_of
from lidr.components.shared.store.open import is_missing_folder, open_store
from lidr.components.shared.store.stage import Stage, locate_stage

GATE_TAG = "lidr.gate_digest"
"""Digest of the gate stage that decided on the version."""

PASSED = "promote"
"""The verdict of a version that passed the gate."""

START = "start"
"""The verdict of M_0, which has no predecessor to be compared with."""

_MODEL_FILES = re.compile(
    r"(?P<root>.+)/stages/(?P<step>[^/]+)/(?P<digest>[^/]+)/(?P<folder>model|adapter)/?"
)
"""URI of the folder with a model's or an adapter's files in a stage."""
_MAX_NAMED = 3
_REMAKE = "Restore them, or run the recipe again: it makes what is missing."
_FETCH = "Restore them, or run `lidr fetch` again: it brings what is missing."
_RESTORE = "Restore them: no run makes files that are outside the store."


class GateVerdict(NamedTuple):
    """The gate's decision, and its stage's URI ("" if the decision comes from a tag alone)."""

    word: str
    gate: str = ""


def verdict_of(version: Version) -> GateVerdict:
    """Return the gate's decision, from its stage if that still exists, else from a tag."""
    word = version.tags.get(VERDICT_TAG, "")
    digest = version.tags.get(GATE_TAG, "")
    home = store_of(version)
    if digest and home and not is_missing_folder(home):
        stage = Stage(open_store(home), f"stages/gate/{digest}")
        if stage.done():
            return GateVerdict(str(stage.counts()["decision"]), stage.uri)
    return GateVerdict(word)


def store_of(version: Version) -> str:
    """Return the URI of the store that holds a version's stage; "" if its files are elsewhere."""
    for uri in reversed(
        files_of(version)
    ):  # the adapter first: beside it, the source is another stage's base model
        if found := model_files_at(uri):
            return found["root"]
    return ""


def model_files_at(uri: str) -> re.Match[str] | None:
    """Return the `root`, `step`, `digest` and `folder` of a stage's model or adapter; else None."""
    return _MODEL_FILES.fullmatch(uri)


def require_files(version: Version, *, verify: bool = False) -> None:
    """Refuse a version whose files are missing.

    Files of a stage, and of a model that `lidr fetch` has brought, must match its marker in name
    and size. A folder must hold a complete model or adapter, an s3:// prefix some weights. Hugging
    Face revisions (hf://) are not checked. With `verify`, the digests of files that a marker lists
    are compared too, which reads every byte.

    Raises:
        BadInput: files are missing or have other sizes, those in a folder cannot be used, or lidr
            cannot check files at such a URI.
        CorruptStage: a marker was changed, or a file's digest differs from its marker's.
    """
    files = files_of(version)
    for uri in files:
        if found := model_files_at(uri):
            _require_stage_files(version, found, verify)
        elif source := locate_source(uri):
            _require_source(version, source, verify)
        elif uri and not has_scheme(uri):
            _require_folder(version, Path(uri), is_adapter=uri == files.adapter)
        elif uri and not uri.startswith("hf://"):
            _require_weights(version, uri)


def _require_stage_files(version: Version, place: re.Match[str], verify: bool) -> None:
    root, step, digest, folder = place.groups()
    if is_missing_folder(root):
        raise _gone(version, place[0], "no such folder", _REMAKE)
    stage = locate_stage(f"{root}/stages/{step}/{digest}", writable=False)
    if not stage.done():
        raise _gone(version, stage.uri, "no complete stage", _REMAKE)
    _require_listed(version, stage, f"{folder}/", "run the recipe again", verify)


def _require_source(version: Version, source: Stage, verify: bool) -> None:
    if not source.done():
        raise _gone(version, source.uri, "no complete source", _FETCH)
    again = "run `lidr fetch` again"
    try:
        _require_listed(version, source, "", again, verify)
    except CorruptStage as error:
        remedy = f"Restore it, or delete {source.uri} and {again}."
        raise CorruptStage(error.message, remedy=remedy) from error


def _require_listed(version: Version, stage: Stage, prefix: str, again: str, verify: bool) -> None:
    """Compare the files whose names begin with a prefix with a complete stage's or source's marker.

    `again` is the command, for the remedy, that makes or fetches the files again.
    """
    skip = len(stage.prefix) + 1
    present = {entry.key[skip:]: entry.size for entry in stage.store.list(stage.prefix)}
    files = stage.marker()["files"].items()
    wanted = {name: described["size"] for name, described in files if name.startswith(prefix)}
    if absent := sorted(name for name, size in wanted.items() if present.get(name) != size):
        named = some_of(absent, _MAX_NAMED)
        count = f"{len(absent)} of {len(wanted)} are missing or truncated"
        remedy = f"Restore them, or delete {stage.uri} and {again}."
        raise _gone(version, stage.uri, f"{count}: {named}", remedy)
    if verify:
        stage.verify(sorted(wanted))


def _require_folder(version: Version, folder: Path, *, is_adapter: bool) -> None:
    if not folder.is_dir():
        raise _gone(version, str(folder), "no such folder", _RESTORE)
    try:
        (check_adapter if is_adapter else check_model)(folder)
    except BadInput as error:
        raise BadInput(
            f"the files of {version.label} cannot be used: {error.message}", remedy=error.remedy
        ) from error


def _require_weights(version: Version, uri: str) -> None:
    if not uri.startswith("s3://"):
        raise BadInput(
            f"{version.label} has its files at {uri}, which lidr cannot check",
            remedy="Register the model from a folder, s3:// or hf://.",
        )
    names = {entry.key for entry in open_store(uri).list("") if entry.size}
    if not any(name.endswith(".safetensors") for name in names):
        raise _gone(version, uri, "no weights there", _RESTORE)


def _gone(version: Version, uri: str, what: str, remedy: str) -> BadInput:
    return BadInput(f"the files of {version.label} are gone from {uri}: {what}", remedy=remedy)
