"""Whether a folder holds a chat model, or a LoRA adapter, that may be loaded.

Only safetensors, JSON, and a tokenizer's text and SentencePiece files are ever opened, and no code
that comes with a model is run. Folders with pickles or code in them are refused.
"""

from __future__ import annotations

import json
from collections.abc import Collection, Iterator, Mapping
from fnmatch import fnmatch
from pathlib import Path
from typing import Any

from lidr.components.shared.core.errors import BadInput
from lidr.components.shared.models.chat_templates import check_chat_template
from lidr.components.shared.models.weights import (
    PICKLES,
    check_index,
    check_no_pickles,
    check_weights,
)

_SETTINGS_FILES = (
    "config.json",
    "tokenizer_config.json",
    "generation_config.json",
    "processor_config.json",
    "preprocessor_config.json",
    "chat_template.json",
    "adapter_config.json",
)
_TEMPLATE_FILES = ("tokenizer_config.json", "processor_config.json", "chat_template.json")
_CODE_KEYS = ("auto_map", "custom_pipelines", "custom_generate")
"""Keys by which transformers finds code that comes with a model."""

_KERNEL_KEYS = ("attn_implementation", "experts_implementation")
"""Parts of keys by which transformers fetches kernels from the hub."""


def check_model(
    folder: Path,
    names: Collection[str] | None = None,
    *,
    weights: bool = True,
    templates: bool = True,
    arguments: Mapping[str, object] | None = None,
) -> None:
    """Refuse a model folder that cannot be loaded safely.

    Args:
        folder: the model's files, with or without weights.
        names: names of all its files, if `folder` lacks the weights; None if it is complete.
        weights: whether there must be weights; an engine that calls a server needs none.
        templates: whether to check what the chat templates do, not only that there are any.
        arguments: the templates' arguments, from the recipe's `model.template_arguments`.

    Raises:
        BadInput: no folder, no configuration, no safetensors weights, no tokenizer or no chat
            template; pickles, code, or a template that does more than render.
    """
    if not folder.is_dir():
        raise BadInput("no such model folder", file=folder, remedy="Correct model.source.")
    if not (folder / "config.json").is_file():
        raise BadInput(
            "no config.json in the model folder",
            file=folder,
            remedy="Point model.source at a folder written by save_pretrained.",
        )
    if weights:
        _check_weights(folder, names)
    if not any((folder / name).is_file() for name in ("tokenizer.json", "tokenizer.model")):
        raise BadInput(
            "no tokenizer in the model folder",
            file=folder,
            remedy="Add it with tokenizer.save_pretrained(folder).",
        )
    _check_no_code(folder)
    if _templates(folder) and templates:
        check_templates(folder, arguments)


def check_adapter(folder: Path) -> None:
    """Refuse a folder that is no LoRA adapter, or holds pickles or code.

    Raises:
        BadInput: configuration or safetensors weights are missing, or the folder is not safe.
    """
    for name in ("adapter_config.json", "adapter_model.safetensors"):
        if not (folder / name).is_file():
            raise BadInput(
                f"no {name} in the adapter's folder",
                file=folder,
                remedy="Point model.adapter at a folder that PEFT's save_pretrained has written.",
            )
    check_no_pickles(folder)
    check_weights(folder / "adapter_model.safetensors")
    _check_no_code(folder)


def _check_weights(folder: Path, names: Collection[str] | None) -> None:
    if names is not None:
        _check_names(folder, names)
        check_index(folder, names)
        return
    check_no_pickles(folder)
    found = sorted(folder.glob("*.safetensors"))
    if not found:
        raise BadInput(
            "no weights",
            file=folder,
            remedy="Add them as safetensors: model.save_pretrained(folder).",
        )
    for path in found:
        check_weights(path)
    check_index(folder)


def _check_names(folder: Path, names: Collection[str]) -> None:
    """Check weights by file name; pickles beside safetensors are allowed, since none is fetched."""
    if any(name.endswith(".safetensors") for name in names):
        return
    pickled = any(fnmatch(name, pattern) for name in names for pattern in PICKLES)
    raise BadInput(
        "the weights are pickles, which can run code" if pickled else "no weights",
        file=folder,
        remedy="Write them as safetensors: load them where you trust them, then "
        "model.save_pretrained(folder).",
    )


def _check_no_code(folder: Path) -> None:
    """Refuse code that only `trust_remote_code` would run, although lidr never sets it."""
    if found := sorted(folder.glob("*.py")):
        raise BadInput(
            f"{found[0].name} is code that comes with the model, and lidr runs none",
            file=folder,
            remedy="Remove it, if transformers knows the architecture by itself; else choose "
            "another model.",
        )
    for name in _SETTINGS_FILES:
        if key := next(_keys_of_code(_read(folder / name)), ""):
            raise BadInput(
                f"{key} names code that comes with the model (trust_remote_code), "
                "and lidr runs none",
                file=folder / name,
                remedy=f"Remove {key}, if transformers knows the architecture by itself; else "
                "choose another model.",
            )


def _keys_of_code(settings: Any) -> Iterator[str]:
    """Yield the keys, at any depth, that make transformers load code."""
    if isinstance(settings, list):
        for each in settings:
            yield from _keys_of_code(each)
    if not isinstance(settings, dict):
        return
    for key, value in settings.items():
        kernel = any(name in key for name in _KERNEL_KEYS) and "/" in str(value)
        if (key in _CODE_KEYS and value) or kernel:
            yield key
        yield from _keys_of_code(value)


def check_templates(folder: Path, arguments: Mapping[str, object] | None = None) -> None:
    """Check every chat template of a folder, whichever of them an engine would use.

    Args:
        folder: the model's files.
        arguments: the templates' arguments, from the recipe's `model.template_arguments`.

    Raises:
        BadInput: there is none, or one does more than render.
    """
    for file, data in _templates(folder):
        try:
            text = data.decode()
        except UnicodeDecodeError as error:
            raise BadInput("not UTF-8", file=file, remedy="Fetch the file again.") from error
        check_chat_template(text, file, arguments)


def _templates(folder: Path) -> list[tuple[Path, bytes]]:
    """Return the chat templates of a folder, each with its file."""
    files = [*sorted(folder.glob("*.jinja")), *sorted(folder.glob("*/*.jinja"))]
    found = [(path, path.read_bytes()) for path in files]
    found += [
        (folder / name, text.encode("utf-8", "surrogatepass"))
        for name in _TEMPLATE_FILES
        for text in _templates_in(_read(folder / name))
    ]
    if not found:
        raise BadInput(
            "the tokenizer has no chat template, so this is not a chat model",
            file=folder / "tokenizer_config.json",
            remedy="Choose the instruction-tuned model, or add chat_template.jinja.",
        )
    return found


def _templates_in(settings: dict[str, Any]) -> Iterator[str]:
    """Yield the chat templates of a tokenizer's settings: one, or several with names."""
    given = settings.get("chat_template")
    if isinstance(given, list):
        given = dict(enumerate(e.get("template") for e in given if isinstance(e, dict)))
    for text in given.values() if isinstance(given, dict) else (given,):
        if isinstance(text, str) and text:
            yield text


def _read(file: Path) -> dict[str, Any]:
    """Return the settings in a file; empty if there is no such file."""
    if not file.is_file():
        return {}
    try:
        settings = json.loads(file.read_bytes())
        if not isinstance(settings, dict):
            raise ValueError(f"it is a {type(settings).__name__}")
    except (ValueError, RecursionError) as error:
        raise BadInput(
            f"not a JSON object ({error})", file=file, remedy="Fetch the model's files again."
        ) from error
    return settings
