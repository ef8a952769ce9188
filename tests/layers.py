"""Files that tests lay over a shipped profile."""

from __future__ import annotations

from pathlib import Path

import yaml


def layer(folder: Path, **sections: object) -> str:
    """Write a layer of a profile; return its path."""
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / "layer.yaml"
    path.write_text(yaml.safe_dump(sections))
    return str(path)
