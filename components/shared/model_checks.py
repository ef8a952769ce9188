"""Whether a folder holds a chat model, or a LoRA adapter, that may be loaded."""

from __future__ import annotations

import json
from collections.abc import Collection
from fnmatch import fnmatch
from pathlib import Path

from components.shared.errors import BadInput

_PICKLES = ("*.bin", "*.pt", "*.pth", "*.ckpt")


def check_model(folder: Path, names: Collection[str] | None = None) -> None:
    """Refuse a model folder that cannot be loaded safely.

    Args:
        folder: the model's files, or the small ones of them.
        names: of all its files, where the weights were left where they are. Default: the folder's.

    Raises:
        BadInput: no folder, no configuration, no safetensors weights, no tokenizer or no chat
            template; the remedy says how to mend it.
    """
    if not folder.is_dir():
        raise BadInput("no such model folder", file=folder, remedy="Correct model.source.")
    if not (folder / "config.json").is_file():
        raise BadInput(
            "no config.json in the model folder",
            file=folder,
            remedy="Point model.source at a folder written by save_pretrained.",
        )
    known = [path.name for path in folder.iterdir()] if names is None else names
    if not _any_like(known, ("*.safetensors",)):
        pickled = _any_like(known, _PICKLES)
        raise BadInput(
            "the weights are pickles, which can run code" if pickled else "no weights",
            file=folder,
            remedy="Write them as safetensors: load them where you trust them, then "
            "model.save_pretrained(folder).",
        )
    if not any((folder / name).is_file() for name in ("tokenizer.json", "tokenizer.model")):
        raise BadInput(
            "no tokenizer in the model folder",
            file=folder,
            remedy="Add it with tokenizer.save_pretrained(folder).",
        )
    if not _has_chat_template(folder):
        raise BadInput(
            "the tokenizer has no chat template, so this is not a chat model",
            file=folder / "tokenizer_config.json",
            remedy="Choose the instruction-tuned model, or add chat_template.jinja.",
        )


def check_adapter(folder: Path, names: Collection[str] | None = None) -> None:
    """Refuse a folder that is no LoRA adapter, or holds it as pickles.

    Args:
        folder: the adapter's files, or the small ones of them.
        names: of all its files, where the weights were left where they are. Default: the folder's.

    Raises:
        BadInput: configuration or safetensors weights are missing.
    """
    for name in ("adapter_config.json", "adapter_model.safetensors"):
        if not ((folder / name).is_file() if names is None else name in names):
            raise BadInput(
                f"no {name} in the adapter's folder",
                file=folder,
                remedy="Point model.adapter at a folder that PEFT's save_pretrained has written.",
            )


def _any_like(names: Collection[str], patterns: Collection[str]) -> bool:
    return any(fnmatch(name, pattern) for name in names for pattern in patterns)


def _has_chat_template(folder: Path) -> bool:
    if (folder / "chat_template.jinja").is_file():
        return True
    config = folder / "tokenizer_config.json"
    if not config.is_file():
        return False
    try:
        return bool(json.loads(config.read_bytes()).get("chat_template"))
    except (ValueError, AttributeError) as error:
        raise BadInput(
            f"not a JSON object ({error})", file=config, remedy="Fetch the model's files again."
        ) from error
