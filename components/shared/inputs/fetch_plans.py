"""Plans for fetching each kind of source into a store: its files, and where they come from."""

from __future__ import annotations

import re
import shutil
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path, PurePosixPath
from typing import Any

from lidr.components.shared.config.source import HubData, Source, hub_data, is_web, parse_source
from lidr.components.shared.core.digest import digest_of_file
from lidr.components.shared.core.errors import BadInput, CorruptStage, DamagedObject
from lidr.components.shared.inputs.fetched import MODEL_FILES, source_stage
from lidr.components.shared.inputs.hub import ask_hub
from lidr.components.shared.inputs.named import InputKind, NamedInput
from lidr.components.shared.inputs.web import Advance, download
from lidr.components.shared.store.base import Store
from lidr.components.shared.store.stage import Stage

_UNSUPPORTED = re.compile(r"\{(language_name|config)\}")
"""Placeholders that `evaluation.data` may have besides `{language}`, but no fetch can fill in."""

WRONG_PIN = "Correct sha256 in the recipe, or pin the revision that has this file."


@dataclass(frozen=True)
class SourceFile:
    """One file of a source.

    Attributes:
        name: within the source's folder on the store.
        size: in bytes; 0 if unknown.
        fetch: writes it to a path on this machine, and reports progress.
        sha256: its digest; "" if unknown.
    """

    name: str
    size: int
    fetch: Callable[[Path, Advance], None]
    sha256: str = ""


@dataclass(frozen=True)
class FetchPlan:
    """How to fetch a source into a store.

    Attributes:
        stage: where its files go.
        place: URI that the recipe then names: of the stage, or of a file in it.
        files: returns its files; looked up only when needed.
        licence: returns the licence in the recipe or on the hub; "" if neither has one.
        origin: address that it comes from.
        pins: by file, the digest that the recipe demands; only where the stage's address does not
            depend on it.
    """

    stage: Stage
    place: str
    files: Callable[[], Sequence[SourceFile]]
    licence: Callable[[], str]
    origin: str
    pins: Mapping[str, str] = field(default_factory=dict)

    def is_there(self) -> bool:
        """Return whether the source is in the store.

        Raises:
            BadInput: it is, with another file than the recipe pins.
            CorruptStage, DamagedObject: it is, but its list of files is damaged.
        """
        if not self.stage.done():
            return False
        try:
            held = self.stage.marker()["files"]
        except (CorruptStage, DamagedObject) as error:
            remedy = f"Delete {self.stage.uri}, then fetch it again with `lidr fetch`."
            raise type(error)(f"{self.origin}: {error.message}", remedy=remedy) from error
        for name, pin in self.pins.items():
            if pin and (actual := held[name]["sha256"]) != pin:
                raise BadInput(
                    f"{self.origin}: {name} has the SHA-256 {actual}, the recipe pins {pin}",
                    remedy=WRONG_PIN,
                )
        return True


def fetch_plan(named: NamedInput, store: Store) -> FetchPlan:
    """Return how to fetch an input into a store; nothing is fetched yet, local files are hashed.

    Raises:
        BadInput: the source is malformed, is not pinned (a revision on the hub, a SHA-256 of what a
            web server sends), has a placeholder beside `{language}`, or does not exist.
    """
    source = parse_source(named.source)
    if named.kind is InputKind.ITEMS and (other := _UNSUPPORTED.search(source.address)):
        raise BadInput(
            f"{named.label} {source.address!r}: only {{language}} can be filled in, not {other[0]}",
            remedy="Provide one file per language, with {language} in the address.",
        )
    if data := hub_data(source.address):
        return _hub_plan(store, source, data, "dataset", named.languages)
    if source.address.startswith("hf://"):
        name, _, revision = source.address.removeprefix("hf://").partition("@")
        if not revision:
            raise BadInput(
                f"{named.label} {source.address!r} names no revision",
                remedy="Pin it: hf://org/name@<commit>.",
            )
        return _hub_plan(store, source, HubData(name, revision), "model")
    if is_web(source.address):
        return _web_plan(store, source, named.languages)
    return _local_plan(store, source, named)


def _codes(address: str, languages: Sequence[str]) -> tuple[str, ...]:
    """Return the languages that an address has files for; "" for one file for all."""
    return tuple(languages) if "{language}" in address else ("",)


def _web_plan(store: Store, source: Source, languages: Sequence[str]) -> FetchPlan:
    """Plan a file from a web server, or one per language; identified by names and digests."""
    files = {code: source.at(code) for code in _codes(source.address, languages)}
    if unpinned := [code for code, each in files.items() if not each.sha256]:
        codes_named = f" for {', '.join(unpinned)}" if any(unpinned) else " of its own"
        raise BadInput(
            f"{source.address} has no sha256{codes_named}",
            remedy="Add it: what a web server sends may change.",
        )
    pattern = _file_name(source.address)
    pins = {pattern.replace("{language}", code): each.sha256[""] for code, each in files.items()}
    stage = source_stage(store, {"files": pins})
    parts = [
        SourceFile(name, 0, _from_web(each.address, pin), pin)
        for (name, pin), each in zip(pins.items(), files.values(), strict=True)
    ]
    place = f"{stage.uri}/{pattern}"
    return FetchPlan(stage, place, lambda: parts, lambda: source.licence, source.address)


def _from_web(url: str, sha256: str) -> Callable[[Path, Advance], None]:
    return lambda path, advance: download(url, path, sha256, advance)


def _file_name(address: str) -> str:
    """Return a file's name in its source's folder, with `{language}` if the address has it."""
    name = PurePosixPath(address.partition("?")[0]).name
    unique = "{language}" in name or "{language}" not in address
    return name if unique else f"{{language}}/{name}"


def _local_plan(store: Store, source: Source, named: NamedInput) -> FetchPlan:
    """Plan a local file, one per language, or a folder; identified by names and digests."""
    source = replace(source, address=source.address.removeprefix("file://"))
    pattern = Path(source.address)
    if named.kind is InputKind.MODEL or pattern.is_dir():
        found = sorted(p for p in pattern.rglob("*") if p.is_file()) if pattern.is_dir() else []
        names = {p.relative_to(pattern).as_posix(): p for p in found if _wanted(p, named.kind)}
        place = ""
    else:
        place = _file_name(source.address)
        codes = _codes(source.address, named.languages)
        names = {place.replace("{language}", c): Path(source.at(c).address) for c in codes}
    absent = next((path for path in names.values() if not path.is_file()), None)
    if absent or not names:
        raise BadInput(
            _why_unusable(absent or pattern, named.kind),
            file=absent or pattern,
            remedy=f"Correct {named.label} in the recipe.",
        )
    digests = {name: digest_of_file(path) for name, path in names.items()}
    for code in _codes(source.address, named.languages) if place else ():
        name, pin = place.replace("{language}", code), source.at(code).sha256.get("", "")
        if pin and digests[name] != pin:
            raise BadInput(
                f"has the SHA-256 {digests[name]}, the recipe pins {pin}",
                file=names[name],
                remedy=f"The file changed, or the pin is another file's: correct {named.label}.",
            )
    stage = source_stage(store, {"files": digests})
    parts = [
        SourceFile(name, path.stat().st_size, _from_disk(path), digests[name])
        for name, path in names.items()
    ]
    uri = f"{stage.uri}/{place}" if place else stage.uri
    return FetchPlan(stage, uri, lambda: parts, lambda: source.licence, source.address)


def _why_unusable(path: Path, kind: InputKind) -> str:
    if not path.exists():
        return "no such file or folder"
    if kind is InputKind.MODEL:
        return "not a folder with a model's files"
    if not path.is_dir():
        return "not a file"
    empty = not any(each.is_file() for each in path.rglob("*"))
    return "an empty folder" if empty else "a folder; one file per language is wanted"


def _wanted(path: Path, kind: InputKind) -> bool:
    return kind is not InputKind.MODEL or any(path.match(pattern) for pattern in MODEL_FILES)


def _from_disk(source: Path) -> Callable[[Path, Advance], None]:
    def copy(path: Path, advance: Advance) -> None:
        shutil.copyfile(source, path)
        advance(path.stat().st_size)

    return copy


def _hub_plan(
    store: Store, source: Source, data: HubData, kind: str, languages: Sequence[str] = ()
) -> FetchPlan:
    """Plan a repository on the model hub at a revision, or one file of it, or one per language."""
    identity: dict[str, object] = {
        kind: data.name,
        "revision": data.revision,
        "file": data.file,
    }
    codes = _codes(data.file, languages)
    if any(codes):
        identity["languages"] = sorted(codes)
    stage = source_stage(store, identity)
    pins = {
        data.file.replace("{language}", code): source.at(code).sha256.get("", "") for code in codes
    }
    return FetchPlan(
        stage,
        f"{stage.uri}/{data.file}" if data.file else stage.uri,
        lambda: _hub_parts(data, kind, pins),
        lambda: source.licence or _hub_licence(data, kind),
        source.address,
        pins if data.file else {},
    )


def _hub_parts(data: HubData, kind: str, pins: Mapping[str, str]) -> list[SourceFile]:
    """Return the wanted files of a repository, with sizes, and digests as pinned or as reported."""
    siblings = _repository(data, kind).siblings or []
    files = set(pins) if data.file else set()
    wanted = [each for each in siblings if _wanted_of_repository(each.rfilename, files, kind)]
    missing = sorted(files - {each.rfilename for each in wanted})
    if missing or not wanted:
        raise BadInput(
            f"hf://{data.name}@{data.revision} has no "
            f"{missing[0] if missing else 'files that lidr reads'}",
            remedy="Correct the source in the recipe.",
        )
    return [
        SourceFile(
            each.rfilename,
            each.size or 0,
            _from_hub(data, each.rfilename, kind),
            pins.get(each.rfilename) or (each.lfs.sha256 if each.lfs else ""),
        )
        for each in wanted
    ]


def _wanted_of_repository(name: str, files: Collection[str], kind: str) -> bool:
    if files:
        return name in files
    if kind == "model":
        return "/" not in name and any(PurePosixPath(name).match(each) for each in MODEL_FILES)
    return not name.endswith((".gitattributes", ".py"))


def _from_hub(data: HubData, name: str, kind: str) -> Callable[[Path, Advance], None]:
    def fetch(path: Path, advance: Advance) -> None:
        from huggingface_hub import hf_hub_download

        folder = path.parents[len(PurePosixPath(name).parts) - 1]
        ask_hub(
            lambda: hf_hub_download(
                data.name, name, revision=data.revision, repo_type=kind, local_dir=folder
            ),
            f"hf://{data.name}@{data.revision}/{name} cannot be downloaded",
        )
        advance(path.stat().st_size)

    return fetch


def _hub_licence(data: HubData, kind: str) -> str:
    card: Any = _repository(data, kind).card_data
    named = card.get("license") if card is not None else None
    return ", ".join(named) if isinstance(named, list) else str(named or "")


def _repository(data: HubData, kind: str) -> Any:
    from huggingface_hub import HfApi

    return ask_hub(
        lambda: HfApi().repo_info(
            data.name, revision=data.revision, repo_type=kind, files_metadata=True
        ),
        f"hf://{data.name}@{data.revision} cannot be looked up",
    )
