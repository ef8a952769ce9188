"""Where the local items of a benchmark are: patterns of a recipe's `evaluation.data`."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from lidr.components.evaluate.items.rows import SUFFIXES
from lidr.components.shared.core.errors import BadInput
from lidr.components.shared.core.languages import NAMES


def place_of(pattern: str, language: str, config: str = "") -> Path:
    """Return the path that a pattern of `evaluation.data` means for one language."""
    return Path(
        pattern.format(language=language, language_name=NAMES[language].lower(), config=config)
    )


def files_at(place: Path, splits: Sequence[str], language: str) -> dict[str, list[Path]]:
    """Return the files of each split that is there; the first split is required.

    A file holds the first split. A folder has `<split>.jsonl` (or .json, .tsv, .parquet),
    `<split>-*.parquet` as on the Hugging Face hub, or `<language>.jsonl` for the first split.

    Raises:
        BadInput: there is no such file or folder, or it does not have the first split.
    """
    if place.is_file():
        return {splits[0]: [place]}
    if not place.is_dir():
        raise BadInput("no such file or folder", file=place, remedy="Check evaluation.data.")
    found = {split: _in_folder(place, split) for split in splits}
    found[splits[0]] = found[splits[0]] or _in_folder(place, language)
    if not found[splits[0]]:
        raise BadInput(
            f"the folder has neither {splits[0]} nor {language} with {', '.join(SUFFIXES)}",
            file=place,
            remedy="Name the file, or the folder that holds it.",
        )
    return {split: files for split, files in found.items() if files}


def _in_folder(folder: Path, stem: str) -> list[Path]:
    single = [folder / f"{stem}{suffix}" for suffix in SUFFIXES]
    shards = sorted(folder.glob(f"{stem}-*.parquet"))
    return next(([path] for path in single if path.is_file()), shards)
