"""Checkpoints of a training run on its stage: `checkpoints/<step>/`, with COMPLETE written last."""

from __future__ import annotations

import json
from pathlib import Path

from components.shared.digest import digest_of_file
from components.shared.stage import Stage

FOLDER = "checkpoints"
COMPLETE = "COMPLETE"
KEEP = 2

_PATTERNS = (
    "*.safetensors",
    "*.safetensors.index.json",
    "adapter_config.json",
    "optimizer.pt",
    "scheduler.pt",
    "rng_state*.pth",
    "trainer_state.json",
)
"""What is needed to go on; tokenizer, configuration and pickled arguments are not."""


class Checkpoints:
    """The checkpoints of one stage, oldest first. A kill at any time leaves the last whole one.

    Args:
        stage: the train stage being written.
    """

    def __init__(self, stage: Stage) -> None:
        self._stage = stage
        self._store = stage.store

    def save(self, folder: Path, step: int) -> None:
        """Copy a checkpoint's files onto the stage, mark it complete and drop older ones."""
        self._remove(step)  # what an interrupted upload left
        files = sorted({path for pattern in _PATTERNS for path in folder.glob(pattern)})
        for path in files:
            self._store.upload(path, self._key(step, path.name))
        digests = {path.name: digest_of_file(path) for path in files}
        self._store.write(self._key(step, COMPLETE), json.dumps(digests).encode())
        self._prune()

    def restore(self, folder: Path) -> int:
        """Copy the newest whole, undamaged checkpoint into a folder; return its step, or 0."""
        for step in reversed(self._complete()):
            digests = json.loads(self._store.read(self._key(step, COMPLETE)))
            for name in digests:
                self._store.download(self._key(step, name), folder / name)
            if all(digest_of_file(folder / name) == sha for name, sha in digests.items()):
                return step
        return 0

    def clear(self) -> None:
        """Delete everything below `checkpoints/`."""
        self._delete(self._keys())

    def _prune(self) -> None:
        for step in set(self._steps()) - set(self._complete()[-KEEP:]):
            self._remove(step)

    def _remove(self, step: int) -> None:
        self._delete([key for key in self._keys() if key.startswith(self._key(step, ""))])

    def _delete(self, keys: list[str]) -> None:
        # The marker goes first: what remains of an interrupted deletion is not complete.
        for key in sorted(keys, key=lambda key: not key.endswith(f"/{COMPLETE}")):
            self._store.delete(key)

    def _complete(self) -> list[int]:
        return sorted(
            int(key.split("/")[-2]) for key in self._keys() if key.endswith(f"/{COMPLETE}")
        )

    def _steps(self) -> list[int]:
        names = [key.split("/")[-2] for key in self._keys()]
        return sorted({int(name) for name in names if name.isdigit()})

    def _keys(self) -> list[str]:
        return [entry.key for entry in self._store.list(self._stage.key(FOLDER))]

    def _key(self, step: int, name: str) -> str:
        return self._stage.key(f"{FOLDER}/{step:08d}/{name}")
