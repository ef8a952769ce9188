"""The config.json of M_0, from which plans read the model's shape.

The config.json of well-known models is shipped (models.json, with only the keys that a plan reads),
so that planning for such a model needs neither the network nor access to the model.
"""

from __future__ import annotations

import json
from functools import cache
from pathlib import Path
from typing import Any

from lidr.components.shared.config.model import Model
from lidr.components.shared.core.errors import BadInput
from lidr.components.shared.models.outside import fetch_model, resolve_model

_FILE = Path(__file__).parent / "models.json"

_REMEDY = "Give model.source a folder or s3:// prefix that holds config.json."


def model_config(model: Model) -> dict[str, Any]:
    """Return the config.json of a recipe's model, without any of its weights.

    Args:
        model: the recipe's section; its source is a folder or starts with `s3://`, `hf://` or
            `models:/`.

    Raises:
        BadInput: there is no config.json, or it cannot be fetched or read.
    """
    source = model.source
    if source.startswith("models:/"):
        source = resolve_model(source).source
    if known := known_models().get(source.removeprefix("hf://").partition("@")[0]):
        return known
    source = resolve_model(source, unpinned=model.unpinned).source
    path = fetch_model(source, weights=False) / "config.json"
    try:
        config = json.loads(path.read_bytes())
    except OSError as error:
        raise BadInput(f"cannot be read: {error.strerror}", file=path, remedy=_REMEDY) from error
    except (ValueError, RecursionError) as error:
        raise BadInput("not JSON", file=path, remedy="Fetch the model again.") from error
    if not isinstance(config, dict):
        raise BadInput("not a JSON object", file=path, remedy="Fetch the model again.")
    return config


@cache
def known_models() -> dict[str, dict[str, Any]]:
    """Return the shipped configurations, by `org/name`."""
    shipped = json.loads(_FILE.read_text("utf-8"))
    return {name: shipped["shapes"][shape] for name, shape in shipped["models"].items()}
