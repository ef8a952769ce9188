"""Checkpoints of a training run on its stage: `checkpoints/<step>/`, with COMPLETE written last.

Each rank copies its own files in a thread while training continues. When all are done, rank 0
writes COMPLETE with the digest of each file. Only a run with the same number of ranks and the same
ZeRO stage can resume: DeepSpeed can convert a checkpoint, but the run is then no longer the same
bit for bit (its loss differed by 1e-3). A changed recipe trains in another stage, so it never meets
these checkpoints.
"""

from __future__ import annotations

import contextlib
import re
import shutil
import threading
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lidr.components.shared.core.digest import digest_of_file
from lidr.components.shared.core.errors import BadInput, DamagedObject
from lidr.components.shared.store.marker import sealed, unsealed
from lidr.components.shared.store.stage import Stage
from lidr.components.train.distributed.ranks import Ranks
from lidr.components.train.distributed.scratch import CHECKPOINT_SIZE, explaining_full_disk

FOLDER = "checkpoints"
COMPLETE = "COMPLETE"
KEEP = 2

_PATTERNS = (
    "*.safetensors",
    "optimizer.pt",
    "scheduler.pt",
    "rng_state*.pth",
    "trainer_state.json",
    "latest",
    "global_step*/*.pt",
)
"""Files needed to resume, so no tokenizer, configuration or pickled arguments."""

_OWNER = re.compile(r"(?:zero_pp_rank|rng_state)_(\d+)")
"""The rank in the name of a file that only this rank reads; all ranks read the others."""


@dataclass(frozen=True)
class Topology:
    """What a checkpoint must have in common with the run that resumes from it.

    Attributes:
        world_size: number of ranks.
        zero: ZeRO stage.
    """

    world_size: int = 1
    zero: int = 0

    def __str__(self) -> str:
        return f"{self.world_size} rank(s) at ZeRO stage {self.zero}"


class Checkpoints:
    """The checkpoints of one stage. A kill at any time leaves the last complete one.

    Args:
        stage: the train stage being written.
        ranks: the ranks of the run.
        topology: of the run.
    """

    def __init__(
        self, stage: Stage, ranks: Ranks | None = None, topology: Topology | None = None
    ) -> None:
        self._stage = stage
        self._store = stage.store
        self._ranks = ranks or Ranks()
        self._copying_ranks = self._ranks.with_new_group()
        self._topology = topology or Topology()
        self._thread: threading.Thread | None = None
        self._error: BaseException | None = None

    def save(self, folder: Path, step: int) -> None:
        """Start to copy a checkpoint's files to the stage; the folder is deleted afterwards.

        Args:
            folder: this rank's files.
            step: the optimizer step.

        Raises:
            StoreError: the previous checkpoint could not be written.
        """
        self.wait()
        self._thread = threading.Thread(target=self._copy, args=(folder, step), daemon=True)
        self._thread.start()

    def wait(self) -> None:
        """Return when the last checkpoint is complete on the store; raise the error of its copy."""
        if self._thread is not None:
            self._thread.join()
        self._thread = None
        if self._error is not None:
            error, self._error = self._error, None
            raise error

    def restore(self, folder: Path) -> int:
        """Copy the newest complete, undamaged checkpoint into a folder; return its step, or 0.

        Raises:
            BadInput: another number of ranks, or another ZeRO stage, wrote it.
            StoreError: the store cannot be read, or this disk is full; raised in every rank.
        """
        with self._ranks.sharing_errors():
            newest = self._newest() if self._ranks.leads else []
        for step, manifest in self._ranks.broadcast(newest):
            self._require_topology(step, manifest)
            with self._ranks.sharing_errors():
                undamaged = self._fetch(step, manifest["files"], folder)
            if not self._ranks.any(not undamaged):
                return step
            with self._ranks.sharing_errors():
                if self._ranks.leads:
                    self._remove(step)  # it is damaged
        return 0

    def clear(self) -> None:
        """Delete everything below `checkpoints/`."""
        self._delete(self._keys())

    def _copy(self, folder: Path, step: int) -> None:
        try:
            self._upload(folder, step)
            shutil.rmtree(folder)
        except BaseException as error:  # `wait` raises it
            self._error = error

    def _upload(self, folder: Path, step: int) -> None:
        own: dict[str, str] = {}
        with self._copying_ranks.sharing_errors():
            for path in sorted({each for glob in _PATTERNS for each in folder.glob(glob)}):
                name = path.relative_to(folder).as_posix()
                self._store.upload(path, self._key(step, name))
                own[name] = digest_of_file(path)
        of_ranks = self._copying_ranks.gather(own)
        if self._ranks.leads:
            files = {name: sha for each in of_ranks for name, sha in each.items()}
            topology = {"world": self._topology.world_size, "zero": self._topology.zero}
            manifest = {**topology, "files": files}
            self._store.write(self._key(step, COMPLETE), sealed(manifest))
            self._prune()

    def _newest(self) -> list[tuple[int, dict[str, Any]]]:
        """Delete incomplete and damaged checkpoints; return the manifests, newest first."""
        complete = self._complete()
        for step in set(self._steps()) - set(complete):
            self._remove(step)
        found = []
        for step in reversed(complete):
            manifest = None
            with contextlib.suppress(DamagedObject):
                manifest = unsealed(self._store.read(self._key(step, COMPLETE)))
            if manifest:
                found.append((step, manifest))
            else:
                self._remove(step)  # it is damaged
        return found

    def _require_topology(self, step: int, manifest: dict[str, Any]) -> None:
        other = Topology(manifest["world"], manifest["zero"])
        if other != self._topology:
            raise BadInput(
                f"the checkpoint of step {step} was written by {other}, this run has "
                f"{self._topology}",
                file=f"{self._stage.uri}/{FOLDER}",
                remedy="Resume with as many ranks and the same training.zero.stage in the profile, "
                "or delete that folder to start over.",
            )

    def _fetch(self, step: int, files: dict[str, str], folder: Path) -> bool:
        """Download this rank's files; return whether all exist undamaged."""
        shutil.rmtree(folder, ignore_errors=True)
        for name, sha in files.items():
            owner = _OWNER.search(name)
            if owner and int(owner[1]) != self._ranks.rank:
                continue
            try:
                with explaining_full_disk(folder.parent, "a checkpoint", CHECKPOINT_SIZE):
                    self._store.download(self._key(step, name), folder / name)
            except (FileNotFoundError, DamagedObject):
                return False
            if digest_of_file(folder / name) != sha:
                return False
        return True

    def _prune(self) -> None:
        for step in set(self._steps()) - set(self._complete()[-KEEP:]):
            self._remove(step)

    def _remove(self, step: int) -> None:
        self._delete([key for key in self._keys() if key.startswith(self._key(step, ""))])

    def _delete(self, keys: list[str]) -> None:
        # COMPLETE first: what an interrupted deletion leaves is not complete.
        for key in sorted(keys, key=lambda key: not key.endswith(f"/{COMPLETE}")):
            self._store.delete(key)

    def _complete(self) -> list[int]:
        return sorted(
            int(key.split("/")[-2]) for key in self._keys() if key.endswith(f"/{COMPLETE}")
        )

    def _steps(self) -> list[int]:
        skip = len(self._stage.key(FOLDER)) + 1
        names = {key[skip:].split("/")[0] for key in self._keys()}
        return sorted(int(name) for name in names if name.isdigit())

    def _keys(self) -> list[str]:
        return [entry.key for entry in self._store.list(self._stage.key(FOLDER))]

    def _key(self, step: int, name: str) -> str:
        return self._stage.key(f"{FOLDER}/{step:08d}/{name}")
