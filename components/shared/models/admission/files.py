"""Whether a folder holds a chat model, or a LoRA adapter, that may be loaded.

Only safetensors, JSON, and a tokenizer's text and SentencePiece files are ever opened, and no code
that comes with a model is run. What could be taken for either is refused.
"""

from __future__ import annotations

import json
from collections.abc import Collection, Iterator
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

_SETTINGS = (
    "config.json",
    "tokenizer_config.json",
    "generation_config.json",
    "processor_config.json",
    "preprocessor_config.json",
    "chat_template.json",
    "adapter_config.json",
)
_TEMPLATES = ("tokenizer_config.json", "processor_config.json", "chat_template.json")
_CODE = ("auto_map", "custom_pipelines", "custom_generate")
"""Keys by which transformers finds code that lies beside a model."""

_KERNELS = ("attn_implementation", "experts_implementation")
"""Keys, also with an underscore before or more behind, by which it fetches code from the hub."""


def check_model(
    folder: Path,
    names: Collection[str] | None = None,
    *,
    weights: bool = True,
    templates: bool = True,
) -> None:
    """Refuse a model folder that cannot be loaded safely.

    Args:
        folder: the model's files, or the small ones of them.
        names: of all its files, where the weights were left where they are. Default: the folder's.
        weights: whether there are to be any: an engine that asks a server needs none.
        templates: whether the chat templates are looked into, not only for.

    Raises:
        BadInput: no folder, no configuration, no safetensors weights, no tokenizer or no chat
            template; pickles, code, or a template that does more than render. The remedy says how
            to mend it.
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
        check_templates(folder)


def check_adapter(folder: Path, names: Collection[str] | None = None) -> None:
    """Refuse a folder that is no LoRA adapter, or holds pickles or code.

    Args:
        folder: the adapter's files, or the small ones of them.
        names: of all its files, where the weights were left where they are. Default: the folder's.

    Raises:
        BadInput: configuration or safetensors weights are missing, or the folder is not safe.
    """
    for name in ("adapter_config.json", "adapter_model.safetensors"):
        if not ((folder / name).is_file() if names is None else name in names):
            raise BadInput(
                f"no {name} in the adapter's folder",
                file=folder,
                remedy="Point model.adapter at a folder that PEFT's save_pretrained has written.",
            )
    if names is None:
        check_no_pickles(folder)
        check_weights(folder / "adapter_model.safetensors")
    _check_no_code(folder)


def _check_weights(folder: Path, names: Collection[str] | None) -> None:
    if names is not None:
        _check_names(folder, names)
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
    """Refuse weights by the names of their files; pickles beside safetensors are never fetched."""
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
    """Refuse what only `trust_remote_code` would load: lidr never sets it."""
    if found := sorted(folder.glob("*.py")):
        raise BadInput(
            f"{found[0].name} is code that comes with the model, and lidr runs none",
            file=folder,
            remedy="Remove it, if transformers knows the architecture by itself; else choose "
            "another model.",
        )
    for name in _SETTINGS:
        if key := next(_keys_of_code(_read(folder / name)), ""):
            raise BadInput(
                f"{key} names code that comes with the model (trust_remote_code), "
                "and lidr runs none",
                file=folder / name,
                remedy=f"Remove {key}, if transformers knows the architecture by itself; else "
                "choose another model.",
            )


def _keys_of_code(settings: Any) -> Iterator[str]:
    """Yield the keys, at any depth, that make a library run code from elsewhere."""
    if isinstance(settings, list):
        for each in settings:
            yield from _keys_of_code(each)
    if not isinstance(settings, dict):
        return
    for key, value in settings.items():
        fetched = any(name in key for name in _KERNELS) and "/" in str(value)
        if (key in _CODE and value) or fetched:
            yield key
        yield from _keys_of_code(value)


def check_templates(folder: Path) -> None:
    """Check every chat template of a folder, whichever of them an engine would take.

    Raises:
        BadInput: there is none, or one does more than render.
    """
    for file, data in _templates(folder):
        try:
            text = data.decode()
        except UnicodeDecodeError as error:
            raise BadInput("not UTF-8", file=file, remedy="Fetch the file again.") from error
        check_chat_template(text, file)


def _templates(folder: Path) -> list[tuple[Path, bytes]]:
    """Return the chat templates of a folder, each with the file it stands in."""
    files = [*sorted(folder.glob("*.jinja")), *sorted(folder.glob("*/*.jinja"))]
    found = [(path, path.read_bytes()) for path in files]
    found += [
        (folder / name, text.encode("utf-8", "surrogatepass"))
        for name in _TEMPLATES
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
    """Yield the chat templates of a tokenizer's settings: one, or several by name."""
    given = settings.get("chat_template")
    if isinstance(given, list):
        given = dict(enumerate(e.get("template") for e in given if isinstance(e, dict)))
    for text in given.values() if isinstance(given, dict) else (given,):
        if isinstance(text, str) and text:
            yield text


def _read(file: Path) -> dict[str, Any]:
    """Return a file of settings; empty where there is none."""
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
