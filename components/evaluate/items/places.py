"""Finds the files of a benchmark's items that a recipe names in `evaluation.data`."""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from functools import cache
from pathlib import Path

from lidr.components.evaluate.items.rows import SUFFIXES
from lidr.components.shared.config.source import Source, is_web, on_this_machine, parse_source
from lidr.components.shared.core.digest import digest_of
from lidr.components.shared.core.errors import BadInput
from lidr.components.shared.core.languages import NAMES
from lidr.components.shared.inputs.fetched import find_fetched, local_copy
from lidr.components.shared.inputs.files import read_file


def local_path(pattern: str, language: str, config: str = "") -> Path:
    """Return the local path of a source of `evaluation.data`, for one language.

    Args:
        pattern: the source, which may contain {language}, {language_name} and {config}.
        language: ISO 639-1 code.
        config: what {config} stands for: a configuration of the data set; "" if there is none.

    Raises:
        BadInput: the source cannot be read, or contains {config} although `config` is "".
    """
    if "{config}" in pattern and not config:
        raise BadInput(
            "{config} stands for nothing: these items have no configurations",
            file=pattern,
            remedy="Write {language} in its place.",
        )
    source = parse_source(pattern)
    pin = source.sha256.get(language) or source.sha256.get("")
    address = source.address.format(
        language=language, language_name=NAMES[language].lower(), config=config
    )
    if held := find_fetched(address):
        stage, name = held
        below = f"{name}/" if name else ""
        names = [each for each in stage.files() if each == name or each.startswith(below)]
        return local_copy(stage, names) / name
    if on_this_machine(address) and not pin:
        return Path(address.removeprefix("file://"))
    return _copied(Source(address, {"": pin} if pin else {}).text())


@cache
def _copied(source: str) -> Path:
    """Return a local copy of a remote or pinned file, kept until the process ends."""
    address = parse_source(source).address
    name = Path(address.partition("?")[0] if is_web(address) else address).name
    path = Path(_scratch().name) / digest_of(source) / name
    data = read_file(source, "evaluation.data")
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(data)
    return path


@cache
def _scratch() -> tempfile.TemporaryDirectory[str]:
    return tempfile.TemporaryDirectory(prefix="lidr-items-")


def files_at(place: Path, splits: Sequence[str], language: str) -> dict[str, list[Path]]:
    """Return the files of each split that exists; the first split is required.

    A single file holds the first split. A folder has `<split>.jsonl` (or .json, .tsv, .parquet),
    or `<split>-*.parquet` as on the Hugging Face hub; the first split's file may instead be named
    after the language (`es.jsonl`), and then every language must have its own.

    Raises:
        BadInput: there is no such file or folder, or it does not have the first split in this
            language.
    """
    if place.is_file():
        return {splits[0]: [place]}
    if not place.is_dir():
        raise BadInput("no such file or folder", file=place, remedy="Check evaluation.data.")
    found = {split: _in_folder(place, split) for split in splits}
    if own := _in_folder(place, language):
        found[splits[0]] = own
    elif splits[0] not in NAMES and (others := _languages_in(place)):
        raise BadInput(
            f"the folder has a file for {', '.join(others)}, and none for {language}",
            file=place,
            remedy=f"Add {language}.jsonl.",
        )
    if not found[splits[0]]:
        raise BadInput(
            f"the folder has no file {splits[0]}.* or {language}.* ({', '.join(SUFFIXES)}), nor "
            f"{splits[0]}-*.parquet or {language}-*.parquet",
            file=place,
            remedy="Name the file, or the folder that holds it.",
        )
    return {split: files for split, files in found.items() if files}


def require_own_file(pattern: str, languages: Sequence[str]) -> None:
    """Refuse a source whose `test` split would be the same file in several languages.

    Args:
        pattern: a source of `evaluation.data`; see `local_path`.
        languages: ISO 639-1 codes of the languages measured on it.

    Raises:
        BadInput: two languages have the same file, or a file cannot be read.
    """
    if any(mark in pattern for mark in ("{language}", "{language_name}", "{config}")):
        return
    code_by_files: dict[tuple[Path, ...], str] = {}
    for code in languages:
        files = tuple(files_at(local_path(pattern, code), ("test",), code)["test"])
        if (other := code_by_files.setdefault(files, code)) != code:
            raise BadInput(
                f"would hold the items of both {other} and {code}",
                file=files[0],
                remedy="Name each file after its language (es.jsonl), or write {language} into "
                "evaluation.data.",
            )


def _languages_in(folder: Path) -> list[str]:
    """Return the languages that files of a folder are named after."""
    files = [path for path in folder.iterdir() if path.suffix in SUFFIXES]
    stems = {path.stem for path in files}
    stems |= {path.stem.partition("-")[0] for path in files if path.suffix == ".parquet"}
    return sorted(stems & NAMES.keys())


def _in_folder(folder: Path, stem: str) -> list[Path]:
    single = [folder / f"{stem}{suffix}" for suffix in SUFFIXES]
    shards = sorted(folder.glob(f"{stem}-*.parquet"))
    return next(([path] for path in single if path.is_file()), shards)
