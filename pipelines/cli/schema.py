"""`python -m lidr.pipelines.cli.schema` writes the JSON Schemas of recipes and profiles.

Editors complete and check YAML files with them, for example by this first line of a file:
`# yaml-language-server: $schema=recipe.schema.json`.
"""

from __future__ import annotations

import json
from pathlib import Path

from lidr.components.shared.config.base_model import Strict
from lidr.components.shared.config.profile import Profile
from lidr.components.shared.config.recipe import Recipe

_PIPELINES = Path(__file__).resolve().parent.parent


def schemas() -> dict[Path, str]:
    """Return the text of each tracked schema file, by its path."""
    kinds: dict[str, type[Strict]] = {
        "recipes/recipe.schema.json": Recipe,
        "profiles/profile.schema.json": Profile,
    }
    return {
        _PIPELINES / name: json.dumps(kind.model_json_schema(), indent=2, ensure_ascii=False) + "\n"
        for name, kind in kinds.items()
    }


def main() -> None:
    """Write the files that `schemas` describes."""
    for path, text in schemas().items():
        path.write_text(text, encoding="utf-8")
        print(path)


if __name__ == "__main__":
    main()
