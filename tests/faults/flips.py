"""One changed byte of whatever a step reads: it says so, and makes nothing of it."""

from __future__ import annotations

import json
import shutil
from collections import Counter
from pathlib import Path
from typing import Any

from tests.faults import forks
from tests.faults.bench import Bench
from tests.faults.lives import Life
from tests.faults.table import Row

_EACH = 3
_FILES = 2


def flipped_bytes(bench: Bench) -> Row:
    """Change a byte of every kind of file that every step reads, and run the step."""
    rng = bench.rng("flips")
    noticed, missed = Counter[str](), list[str]()
    for step, (module, given) in _steps(bench.whole).items():
        store = bench.folder / f"flips-{step}"
        shutil.copytree(bench.whole.store, store)
        moved = {k: _moved(v, bench.whole.uri, str(store)) for k, v in given.items()}
        own = store / "stages" / step
        shutil.rmtree(own, ignore_errors=True)
        error, read = forks.call(attempt, module, step, moved)
        assert not error, f"{step} does not run: {error}"
        for path in _sample(store, step, read, rng):
            data = path.read_bytes()
            for at in {0, len(data) - 1, *rng.sample(range(len(data)), min(_EACH, len(data)))}:
                changed = bytearray(data)
                changed[at] ^= 1 << rng.randrange(8)
                path.write_bytes(bytes(changed))
                shutil.rmtree(own, ignore_errors=True)
                error, _ = forks.call(attempt, module, step, moved)
                kind = f"{path.relative_to(store).parts[1]}/{path.suffix or path.name}"
                if error and not list(own.glob("*/_SUCCESS")):
                    noticed[kind] += 1
                else:
                    missed.append(f"{step} used {path.relative_to(store)} byte {at}")
                path.write_bytes(data)
        shutil.rmtree(store)
        print(f"flips read by {step}: {noticed.total()} noticed, missed {missed}", flush=True)
    kinds = ", ".join(sorted(noticed))
    total = noticed.total()
    return Row(
        "byte flipped in what a step reads", total + len(missed), total, "; ".join(missed) or kinds
    )


def flipped_checkpoints(bench: Bench) -> Row:
    """Change a byte of the newest checkpoint: training goes on from the one before it."""
    rng = bench.rng("checkpoints")
    base = bench.life("checkpoints")
    last = [
        m for m in bench.whole.moments() if m.startswith("after write") and m.endswith("COMPLETE")
    ]
    assert base.live([last[-1]]) < 0
    newest = sorted(base.store.glob("stages/train/*/checkpoints/*"))[-1]
    names = sorted(path.relative_to(base.store) for path in newest.rglob("*") if path.is_file())
    held, faults = 0, []
    for name in names:
        life = Life(bench.folder / f"checkpoint-{name.name}", bench.recipe)
        life.folder.mkdir()
        shutil.copytree(base.store, life.store)
        path = life.store / name
        data = bytearray(path.read_bytes())
        data[rng.randrange(len(data))] ^= 1 << rng.randrange(8)
        path.write_bytes(bytes(data))
        code = life.live()
        model = {k: v for k, v in _contents(life).items() if k.startswith("train/")}
        same = model == {k: v for k, v in bench.outcome.items() if k.startswith("train/")}
        if code == 0 and same and "from the checkpoint of step" in life.job.events.read_text():
            held += 1
        else:
            faults.append(f"{name.name}: exit code {code}")
        shutil.rmtree(life.folder)
    print(f"checkpoints: {held} of {len(names)} {faults}", flush=True)
    found = "; ".join(faults) or "the model is that of an undisturbed run, to the last byte"
    return Row("byte flipped in a checkpoint", len(names), held, found)


def attempt(module: str, function: str, given: dict[str, Any]) -> tuple[str, list[str]]:
    """Call a step; return what it raised, if it did, and which files of the store it read."""
    import importlib
    import os

    from lidr.components.shared.store.local import LocalStore

    os.environ["LIDR_EVENTS"] = os.devnull
    read: list[str] = []
    for name in ("read", "download", "sha256"):
        _record(LocalStore, name, read)
    try:
        getattr(importlib.import_module(module), function)(**given)
    except Exception as error:
        return f"{type(error).__name__}: {error}", read
    return "", read


def _record(kind: type, name: str, read: list[str]) -> None:
    function = getattr(kind, name)

    def recorded(self, key, *arguments):
        read.append(key)
        return function(self, key, *arguments)

    setattr(kind, name, recorded)


def _steps(life: Life) -> dict[str, tuple[str, dict[str, Any]]]:
    """Return the arguments with which each step of the first iteration was called."""
    home = life.store / "runs" / life.run
    before, after = (json.loads((home / f"iteration-{t}/state.json").read_text()) for t in (0, 1))
    common = {"recipe": life.recipe, "store": life.uri, "inputs": before["inputs"]}
    rollout = {**common, "model": before["model"], "iteration": 1}
    made = {"responses": after["responses"], "rewards": after["translations"]}
    gate = {"before": before["evaluation"], "after": after["evaluation"], "pairs": after["pairs"]}
    given = {
        "generate": rollout,
        "translate": rollout | {"responses": after["responses"]},
        "pair": rollout | made,
        "train": rollout | {"pairs": after["pairs"]},
        "evaluate": {**common, "model": after["model"], "iteration": 1},
        "gate": {
            "recipe": life.recipe,
            "store": life.uri,
            "iteration": 1,
            "max_iterations": 1,
            **gate,
        },
    }
    return {step: (f"components.{step}.run", values) for step, values in given.items()}


def _moved(value: Any, old: str, new: str) -> Any:
    return value.replace(old, new, 1) if isinstance(value, str) and value.startswith(old) else value


def _sample(store: Path, step: str, read: list[str], rng: Any) -> list[Path]:
    """Return files of other stages that a step has read, some of each kind."""
    kinds: dict[tuple[str, str], list[str]] = {}
    for key in dict.fromkeys(read):
        parts = key.split("/")
        if parts[0] == "stages" and parts[1] != step:
            kinds.setdefault((parts[1], "/".join(parts[3:4]) + Path(key).suffix), []).append(key)
    keys = [key for own in kinds.values() for key in rng.sample(own, min(_FILES, len(own)))]
    return [store / key for key in keys if (store / key).stat().st_size]


def _contents(life: Life) -> dict[str, Any]:
    from tests.faults.contents import contents

    return contents(life.store, life.run)
