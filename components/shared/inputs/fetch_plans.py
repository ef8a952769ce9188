"""How each kind of source comes into a store: the files it has, and where each is had from."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

from lidr.components.shared.config.source import HubData, Source, hub_data, is_web, parse_source
from lidr.components.shared.core.digest import digest_of_file
from lidr.components.shared.core.errors import BadInput
from lidr.components.shared.inputs.fetched import MODEL_FILES, source_stage
from lidr.components.shared.inputs.hub import ask_hub
from lidr.components.shared.inputs.named import InputKind, NamedInput
from lidr.components.shared.inputs.web import Advance, download
from lidr.components.shared.store.base import Store
from lidr.components.shared.store.stage import Stage


@dataclass(frozen=True)
class Part:
    """One file of a source.

    Attributes:
        name: within the source's folder on the store.
        size: in bytes, 0 where that is not known yet.
        bring: puts it at a path on this machine, and says how far it is.
        sha256: its digest, where that is known.
    """

    name: str
    size: int
    bring: Callable[[Path, Advance], None]
    sha256: str = ""


@dataclass(frozen=True)
class Plan:
    """How a source comes into a store.

    Attributes:
        stage: its place there.
        place: what the recipe then names: the stage, or a file of it.
        parts: its files, looked up when they are needed.
        licence: as the recipe or the hub says it; "" where nobody does.
        origin: address that it comes from.
    """

    stage: Stage
    place: str
    parts: Callable[[], Sequence[Part]]
    licence: Callable[[], str]
    origin: str


def plan_of(named: NamedInput, store: Store) -> Plan:
    """Return how an input comes into a store, and where it would be there.

    Raises:
        BadInput: the source is malformed, or a local one is not there.
    """
    source = parse_source(named.source)
    if data := hub_data(source.address):
        return _hub_plan(store, source, data.name, data.revision, data.file, "dataset")
    if source.address.startswith("hf://"):
        name, _, revision = source.address.removeprefix("hf://").partition("@")
        if not revision:
            raise BadInput(
                f"{'.'.join(map(str, named.key))} {source.address!r} names no revision",
                remedy="Pin it: hf://org/name@<commit>.",
            )
        return _hub_plan(store, source, name, revision, "", "model")
    if is_web(source.address):
        return _web_plan(store, source, named.languages)
    return _local_plan(store, source, named)


def _web_plan(store: Store, source: Source, languages: Sequence[str]) -> Plan:
    """A file from a web server, or one per language; its digest alone says which it is."""
    codes = tuple(languages) if "{language}" in source.address else ("",)
    files = {code: source.at(code) for code in codes}
    if unpinned := [code for code, each in files.items() if not each.sha256]:
        raise BadInput(
            f"{source.address} has no sha256 for {', '.join(unpinned)}",
            remedy="Add it: what a web server sends may change.",
        )
    name = _name_of(source.address)
    pins = {name.replace("{language}", code): each.sha256[""] for code, each in files.items()}
    stage = source_stage(store, {"files": pins})
    parts = [
        Part(
            name.replace("{language}", code),
            0,
            _from_web(each.address, each.sha256[""]),
            each.sha256[""],
        )
        for code, each in files.items()
    ]
    place = f"{stage.uri}/{name}"
    return Plan(stage, place, lambda: parts, lambda: source.licence, source.address)


def _from_web(url: str, sha256: str) -> Callable[[Path, Advance], None]:
    return lambda path, advance: download(url, path, sha256, advance)


def _name_of(address: str) -> str:
    """Return the name of a file below its source's folder, `{language}` in it if it has any."""
    path = PurePosixPath(address.partition("?")[0])
    named = "{language}" in path.name or "{language}" not in address
    return path.name if named else f"{{language}}/{path.name}"


def _local_plan(store: Store, source: Source, named: NamedInput) -> Plan:
    """A file, a file per language, or a folder of this machine; its bytes say which it is."""
    pattern = Path(source.address)
    if named.kind is InputKind.MODEL or pattern.is_dir():
        found = sorted(p for p in pattern.rglob("*") if p.is_file()) if pattern.is_dir() else []
        names = {p.relative_to(pattern).as_posix(): p for p in found if _wanted(p, named.kind)}
        place = ""
    else:
        place = _name_of(source.address)
        codes = named.languages if "{language}" in source.address else ("",)
        names = {place.replace("{language}", c): Path(source.at(c).address) for c in codes}
    absent = [path for path in names.values() if not path.is_file()]
    if absent or not names:
        key = ".".join(map(str, named.key))
        raise BadInput(
            "no such file or folder",
            file=absent[0] if absent else pattern,
            remedy=f"Correct {key} in the recipe.",
        )
    digests = {name: digest_of_file(path) for name, path in names.items()}
    stage = source_stage(store, {"files": digests})
    parts = [
        Part(name, path.stat().st_size, _from_disk(path), digests[name])
        for name, path in names.items()
    ]
    at = f"{stage.uri}/{place}" if place else stage.uri
    return Plan(stage, at, lambda: parts, lambda: source.licence, source.address)


def _wanted(path: Path, kind: InputKind) -> bool:
    return kind is not InputKind.MODEL or any(path.match(pattern) for pattern in MODEL_FILES)


def _from_disk(source: Path) -> Callable[[Path, Advance], None]:
    def copy(path: Path, advance: Advance) -> None:
        shutil.copyfile(source, path)
        advance(path.stat().st_size)

    return copy


def _hub_plan(store: Store, source: Source, name: str, revision: str, file: str, kind: str) -> Plan:
    """A repository of the model hub at a revision, or one file of it."""
    stage = source_stage(store, {kind: name, "revision": revision, "file": file})
    data = HubData(name, revision, file)
    return Plan(
        stage,
        f"{stage.uri}/{file}" if file else stage.uri,
        lambda: _hub_parts(data, kind),
        lambda: source.licence or _hub_licence(data, kind),
        source.address,
    )


def _hub_parts(data: HubData, kind: str) -> list[Part]:
    """Return the files of a repository, with the sizes and digests that the hub knows."""
    found = _repository(data, kind).siblings or []
    wanted = [each for each in found if _of_repository(each.rfilename, data.file, kind)]
    if not wanted:
        raise BadInput(
            f"hf://{data.name}@{data.revision} has no {data.file or 'files that are wanted'}",
            remedy="Correct the source in the recipe.",
        )
    return [
        Part(
            each.rfilename,
            each.size or 0,
            _from_hub(data, each.rfilename, kind),
            each.lfs.sha256 if each.lfs else "",
        )
        for each in wanted
    ]


def _of_repository(name: str, file: str, kind: str) -> bool:
    if file:
        return name == file
    if kind == "model":
        top = "/" not in name
        return top and any(PurePosixPath(name).match(pattern) for pattern in MODEL_FILES)
    return not name.endswith((".gitattributes", ".py"))


def _from_hub(data: HubData, name: str, kind: str) -> Callable[[Path, Advance], None]:
    def bring(path: Path, advance: Advance) -> None:
        from huggingface_hub import hf_hub_download

        folder = path.parents[len(PurePosixPath(name).parts) - 1]

        def ask() -> str:
            return str(
                hf_hub_download(
                    data.name, name, revision=data.revision, repo_type=kind, local_dir=folder
                )
            )

        ask_hub(ask, f"hf://{data.name}@{data.revision}/{name} cannot be downloaded", _HUB_REMEDY)
        advance(path.stat().st_size)

    return bring


_HUB_REMEDY = "Check the name, the revision, HF_TOKEN and the network."


def _hub_licence(data: HubData, kind: str) -> str:
    card: Any = _repository(data, kind).card_data
    named = card.get("license") if card is not None else None
    return ", ".join(named) if isinstance(named, list) else str(named or "")


def _repository(data: HubData, kind: str) -> Any:
    from huggingface_hub import HfApi

    def ask() -> Any:
        return HfApi().repo_info(
            data.name, revision=data.revision, repo_type=kind, files_metadata=True
        )

    return ask_hub(ask, f"hf://{data.name}@{data.revision} cannot be looked up", _HUB_REMEDY)
