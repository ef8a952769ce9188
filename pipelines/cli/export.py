"""lidr export: write a registered version to a folder or the hub, with a model card."""

from __future__ import annotations

import errno
import json
import os
import re
import shutil
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from lidr.components.shared.core.errors import BadInput, StoreError
from lidr.components.shared.inputs.fetched import MODEL_FILES
from lidr.components.shared.inputs.hub import ask_hub
from lidr.components.shared.models.adapters import settings_beyond_factors
from lidr.components.shared.models.sources import model_files
from lidr.components.shared.registry.ancestry import read_ancestry
from lidr.components.shared.registry.versions import read_version
from lidr.pipelines.cli.inputs import not_empty
from lidr.pipelines.cli.outputs import say
from lidr.pipelines.cli.registered import StagesOption, open_registry
from lidr.pipelines.model_card import model_card

if TYPE_CHECKING:
    from lidr.components.shared.models.sources import ModelFiles

_MODEL = re.compile(r"(?P<name>[^/]+)(?P<ref>@[^@/]+|/[0-9]+)")
_HUB = re.compile(r"hf://(?P<name>[\w.-]+/[\w.-]+)")
_MAX_FILE_BYTES = 5 * 10**9
"""Largest weight file of a merged model; a larger tensor gets a file of its own."""

_FULL = (errno.ENOSPC, errno.EDQUOT)
_UNWRITABLE = (
    *(errno.EACCES, errno.EPERM, errno.EROFS),
    *(errno.EEXIST, errno.ENOTEMPTY, errno.ENOTDIR, errno.ENAMETOOLONG),
)


def export_command(
    model: Annotated[
        str,
        typer.Argument(metavar="MODEL", help="NAME@alias or NAME/version of a registered model."),
    ],
    to: Annotated[
        str, typer.Option("--to", help="A new folder, or hf://org/name.", callback=not_empty)
    ],
    store: StagesOption = None,
) -> None:
    """Write a version as transformers and vLLM load it, and a card made from its lineage."""
    named = _MODEL.fullmatch(model)
    if not named:
        raise BadInput(
            f"{model!r} names no version", remedy="Write NAME@champion, or NAME/3 for version 3."
        )
    hub = _HUB.fullmatch(to)
    if not hub and "://" in to:
        raise BadInput(f"{to!r} is not a folder", remedy="Name a folder, or hf://org/name.")
    if not hub and os.path.lexists(to):
        raise BadInput("already exists", file=to, remedy="Name a new folder.")
    client = open_registry(store or "lidr-store")
    version = read_version(client, named["name"], named["ref"].removeprefix("/"))
    found = read_ancestry(client, version, store or "")
    if hub:
        _create_repository(hub["name"])  # first, as the hub may refuse it
    files = model_files(found.model)
    card = model_card(found, merged=files.adapter is not None)
    if hub:
        place = Path(tempfile.gettempdir())
        with _explaining_disk(place, "Set TMPDIR to a folder"), _temporary(place) as folder:
            _write(files, card, folder)
            _upload(folder, hub["name"])
    else:
        target = Path(to)
        with _explaining_disk(target, "Name a folder"):
            target.parent.mkdir(parents=True, exist_ok=True)
            with _temporary(target.parent) as folder:
                _write(files, card, folder)
                folder.rename(target)
    say(f"{version.label} -> {to}")


@contextmanager
def _temporary(parent: Path) -> Iterator[Path]:
    """Yield the path for a new folder, which is deleted at the end unless it has been moved."""
    with tempfile.TemporaryDirectory(prefix=".lidr-export-", dir=parent) as name:
        yield Path(name) / "model"


@contextmanager
def _explaining_disk(place: Path, elsewhere: str) -> Iterator[None]:
    """Explain errors of the disk while a model is written in the `with` block.

    Args:
        place: where, for the message.
        elsewhere: start of the remedy, e.g. "Name a folder".

    Raises:
        StoreError: the disk is full, or this user cannot write there.
    """
    roomier = f"{elsewhere} on a disk with more room."
    try:
        yield
    except StoreError as error:  # from `Export`, whose remedy is for training
        raise StoreError(error.message, remedy=roomier) from error
    except OSError as error:
        if error.errno not in (*_FULL, *_UNWRITABLE):
            raise
        raise StoreError(
            f"cannot write the model to {place}: {os.strerror(error.errno)}",
            remedy=roomier if error.errno in _FULL else f"{elsewhere} that this user can write.",
        ) from error


def _write(files: ModelFiles, card: str, folder: Path) -> None:
    """Write a model's files, with its adapter merged into the weights, and the card."""
    folder.mkdir()
    if files.adapter:
        _merge(files.folder, files.adapter, folder)
    else:
        for path in (path for pattern in MODEL_FILES for path in files.folder.glob(pattern)):
            shutil.copyfile(path, folder / path.name)
    (folder / "README.md").write_text(card, encoding="utf-8")


def _merge(base: Path, adapter: Path, folder: Path) -> None:
    """Write a model with its adapter added to the weights, as training writes merged models.

    Weights in bfloat16 are rounded stochastically, as rounding to the nearest number would lose
    most of a small update. Other weights become float32, and config.json says so. All other files
    are the base model's own.
    """
    import torch
    from transformers import AutoModelForCausalLM

    from lidr.components.shared.engines.transformers_engine import attach_adapter, merge_adapter
    from lidr.components.train.export.model import Export
    from lidr.components.train.export.precision import Rounding
    from lidr.components.train.export.tensors import tensor_files, tensor_headers

    # Plain factors are added to the files' tensors one by one, so the base needs no float32 copy.
    plain = not any(settings_beyond_factors(adapter))
    dtype = "auto" if plain else torch.float32
    model = AutoModelForCausalLM.from_pretrained(
        base, dtype=dtype, use_safetensors=True, trust_remote_code=False
    )
    model = (attach_adapter if plain else merge_adapter)(model, adapter)
    types = {kind for kind, _ in tensor_headers(tensor_files(base)).values()}
    rounding = Rounding.of("auto", torch.bfloat16, types, seed=0)
    parts = folder.with_name("parts")
    export = Export(model, base, parts, _MAX_FILE_BYTES, rounding, merged=not plain)
    export.run(lambda path: shutil.copyfile(path, folder / path.name))
    if rounding.file == "float32":
        _name_float32(folder / "config.json")


def _name_float32(config: Path) -> None:
    """Make a configuration name float32: transformers loads weights in the type that it names."""
    settings = json.loads(config.read_text("utf-8"))
    changed = False
    for part in (settings, settings.get("text_config") or {}):
        for key in ("dtype", "torch_dtype"):
            if part.get(key) not in (None, "float32"):
                part[key], changed = "float32", True
    if changed:
        config.write_text(json.dumps(settings, indent=2, ensure_ascii=False), "utf-8")


def _create_repository(name: str) -> None:
    """Create a private repository on the hub, unless it exists."""
    from huggingface_hub import HfApi

    _change(name, lambda: HfApi().create_repo(name, private=True, exist_ok=True))


def _upload(folder: Path, name: str) -> None:
    """Upload a folder to a repository of the hub."""
    from huggingface_hub import HfApi

    _change(name, lambda: HfApi().upload_folder(repo_id=name, folder_path=folder))


def _change(name: str, action: Callable[[], object]) -> None:
    what = f"hf://{name} cannot be written"
    ask_hub(action, what, "Set HF_TOKEN to a token that may write there.")
