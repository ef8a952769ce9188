"""lidr export: write a registered version to a folder or the hub, with a model card."""

from __future__ import annotations

import re
import shutil
import tempfile
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from lidr.components.shared.core.errors import BadInput
from lidr.components.shared.inputs.fetched import MODEL_FILES
from lidr.components.shared.inputs.hub import ask_hub
from lidr.components.shared.models.sources import model_files
from lidr.components.shared.registry.ancestry import read_ancestry
from lidr.components.shared.registry.versions import read_version
from lidr.pipelines.cli.outputs import say
from lidr.pipelines.cli.registered import HomeOption, open_registry
from lidr.pipelines.model_card import model_card

if TYPE_CHECKING:
    from lidr.components.shared.models.sources import ModelFiles

_MODEL = re.compile(r"(?P<name>[^@/]+)(?P<ref>@[^@/]+|/[0-9]+)")
_HUB = re.compile(r"hf://(?P<name>[\w.-]+/[\w.-]+)")


def export_command(
    model: Annotated[
        str,
        typer.Argument(metavar="MODEL", help="NAME@alias or NAME/version of a registered model."),
    ],
    to: Annotated[str, typer.Option("--to", help="A new folder, or hf://org/name.")],
    store: HomeOption = "lidr-store",
) -> None:
    """Write a version as transformers and vLLM take it, with a card made of its lineage."""
    named = _MODEL.fullmatch(model)
    if not named:
        raise BadInput(
            f"{model!r} names no version", remedy="Write NAME@champion, or NAME/3 for version 3."
        )
    hub = _HUB.fullmatch(to)
    if not hub and "://" in to:
        raise BadInput(f"{to!r} is not a folder", remedy="Name a folder, or hf://org/name.")
    client = open_registry(store)
    version = read_version(client, named["name"], named["ref"].removeprefix("/"))
    found = read_ancestry(client, version, store if Path(store).is_dir() else "")
    files, card = model_files(found.model), model_card(found)
    if hub:
        with tempfile.TemporaryDirectory(prefix="lidr-export-") as name:
            folder = Path(name) / "model"
            _write(files, card, folder)
            _publish(folder, hub["name"])
    else:
        _write_new(files, card, Path(to))
    say(f"{version.label} -> {to}")


def _write_new(files: ModelFiles, card: str, target: Path) -> None:
    """Write the folder whole or not at all."""
    if target.exists() and any(target.iterdir() if target.is_dir() else [target]):
        raise BadInput("already exists", file=target, remedy="Name a new folder.")
    target.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=".lidr-export-", dir=target.parent) as name:
        folder = Path(name) / "model"
        _write(files, card, folder)
        if target.is_dir():
            target.rmdir()
        folder.rename(target)


def _write(files: ModelFiles, card: str, folder: Path) -> None:
    """Write a model's files, with its adapter merged into the weights, and the card."""
    if files.adapter:
        _merge(files.folder, files.adapter, folder)
    else:
        folder.mkdir()
        _copy(files.folder, folder, MODEL_FILES)
    (folder / "README.md").write_text(card, encoding="utf-8")


def _copy(source: Path, folder: Path, patterns: Iterable[str]) -> None:
    """Copy files that the folder lacks; a weights index only together with the weights."""
    indexed = "*.safetensors" in patterns
    for path in (path for pattern in patterns for path in source.glob(pattern)):
        target = folder / path.name
        if not target.exists() and (indexed or not path.name.endswith(".index.json")):
            shutil.copyfile(path, target)


def _merge(base: Path, adapter: Path, folder: Path) -> None:
    """Write a model with its adapter merged into the weights, in the precision of its files."""
    from peft import PeftModel
    from transformers import AutoModelForCausalLM

    model = AutoModelForCausalLM.from_pretrained(
        base, dtype="auto", use_safetensors=True, trust_remote_code=False
    )
    whole = PeftModel.from_pretrained(model, adapter).merge_and_unload()
    whole.save_pretrained(folder)
    _copy(base, folder, [pattern for pattern in MODEL_FILES if "safetensors" not in pattern])


def _publish(folder: Path, name: str) -> None:
    """Upload a folder to a repository of the hub, created as private if there is none."""
    from huggingface_hub import HfApi

    api = HfApi()
    remedy = "Set HF_TOKEN to a token that may write there."
    what = f"hf://{name} cannot be written"
    ask_hub(lambda: api.create_repo(name, private=True, exist_ok=True), what, remedy)
    ask_hub(lambda: api.upload_folder(repo_id=name, folder_path=folder), what, remedy)
