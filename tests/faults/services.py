"""Runs on a team's services, PostgreSQL, MLflow and S3, that fail as servers and networks do."""

from __future__ import annotations

import json
import os
import tempfile
import threading
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.faults import forks
from tests.faults.bench import Bench, holds
from tests.faults.contents import contents, versions
from tests.faults.lives import Life, chosen, small_recipe
from tests.faults.table import Row
from tests.services.faulty import FAULTS, STALE, STALL, FaultyProxy
from tests.services.stack import Part, Stack, postgres_binaries, s3_client

_SAME = "datasets, models, states and registry as undisturbed"


@dataclass
class TeamLife(Life):
    """A run whose store is on S3 and whose MLflow is a server.

    Attributes:
        model: name of its registered model.
        s3: endpoint of the S3 server itself.
    """

    model: str = ""
    s3: str = ""

    @property
    def uri(self) -> str:
        return f"s3://team/{self.model}"

    def work(self) -> dict[str, object]:
        objects = {each["Key"]: each for each in self._objects()}
        done = {key.rpartition("/")[0] for key in objects if key.endswith("/_SUCCESS")}
        return {
            key: (each["ETag"], each["LastModified"])
            for key, each in objects.items()
            if "/".join(key.split("/")[:4]) in done
            or (key.endswith(".parquet") and key.split("/")[2] in ("generate", "translate"))
        }

    def outcome(self) -> dict[str, object]:
        client: Any = s3_client(self.s3)
        with tempfile.TemporaryDirectory() as name:
            for each in self._objects():
                path = Path(name) / each["Key"].partition("/")[2]
                path.parent.mkdir(parents=True, exist_ok=True)
                client.download_file("team", each["Key"], str(path))
            found = contents(Path(name), self.run)
        told = dict(self.environment)
        found["registry"] = forks.call(versions_of, told, self.uri, self.model)
        named = {key: json.dumps(value, sort_keys=True) for key, value in found.items()}
        return {
            key: text.replace(self.uri, "").replace(self.model, "model")
            for key, text in named.items()
        }

    def _objects(self) -> list[dict[str, Any]]:
        client: Any = s3_client(self.s3)
        pages = client.get_paginator("list_objects_v2").paginate(
            Bucket="team", Prefix=f"{self.model}/"
        )
        return [each for page in pages for each in page.get("Contents", [])]


def versions_of(environment: dict[str, str], store: str, model: str) -> dict[str, Any]:
    """Return what MLflow's server holds of one registered model."""
    os.environ.update(environment)
    found = versions(environment["MLFLOW_TRACKING_URI"], store, model)
    for _, tags, _ in found.values():
        tags.pop("lidr.recipe_digest")  # the recipe names the model
    return found


@contextmanager
def team(s3: str) -> Iterator[Stack | None]:
    """Start the services; None where PostgreSQL is not installed."""
    binaries = postgres_binaries()
    if binaries is None:
        yield None
        return
    stack = Stack(binaries, s3)
    try:
        yield stack
    finally:
        stack.close()


class Team:
    """Lives on the services, compared with an undisturbed one there."""

    def __init__(self, bench: Bench, stack: Stack, s3: str) -> None:
        self.bench = bench
        self.stack = stack
        self.s3 = s3
        self.number = 0
        whole = self.life()
        whole.finish()
        self.moments = whole.moments()
        self.outcome = whole.outcome()

    def life(self, endpoint: str = "") -> TeamLife:
        """Return a run with a store and a registered model of its own."""
        self.number += 1
        model = f"life{self.number}"
        folder = self.bench.folder / model
        (folder / "store").mkdir(parents=True)
        told = self.stack.environment | {"XDG_CACHE_HOME": str(folder / "cache")}
        told |= {"AWS_ENDPOINT_URL": endpoint} if endpoint else {}
        recipe = small_recipe([f"registry.model_name={model}"])
        life = TeamLife(folder, recipe, tuple(told.items()), model=model, s3=self.s3)
        client: Any = s3_client(self.s3)
        world = self.bench.whole.store / "stages" / "prepare"
        for path in sorted(world.rglob("*"), key=lambda path: path.name == "_SUCCESS"):
            if path.is_file():
                key = path.relative_to(self.bench.whole.store)
                client.upload_file(str(path), "team", f"{model}/{key}")
        return life

    def compared(self, life: TeamLife) -> None:
        """Refuse a run that made anything else than the undisturbed one."""
        found = life.outcome()
        other = [key for key in {*found, *self.outcome} if found.get(key) != self.outcome.get(key)]
        assert not other, f"not as undisturbed: {sorted(other)}"

    def kills(self, each: int = 1) -> Row:
        """kill -9 with a store on S3."""
        rng = self.bench.rng("team kills")
        life = self.life()

        def check() -> None:
            life.live_through(chosen(self.moments, rng, each), rng)
            life.finish()
            self.compared(life)

        fault, count = holds(check), len(life.killed)
        print(f"kills on S3: {count} {fault or 'held'}", flush=True)
        return Row(
            "kill -9 at a moment of the store, on S3", count, 0 if fault else count, fault or _SAME
        )

    def broken_network(self) -> Row:
        """S3 answers 500 and 503, resets, truncates, stalls, and lists what was before."""
        proxy = FaultyProxy(self.s3, (*FAULTS, STALE, STALL), rate=0.15)
        life = self.life(proxy.endpoint)

        def check() -> None:
            for _ in range(4):
                if life.live() == 0:
                    break
            life.finish()
            self.compared(life)

        fault = holds(check)
        proxy.close()
        met: Counter[str] = proxy.met
        count = met.total()
        print(f"S3 faults: {dict(met)} {fault or 'held'}", flush=True)
        told = ", ".join(f"{number} {name}" for name, number in sorted(met.items()))
        return Row("S3 that fails", count, 0 if fault else count, f"{told}; {fault or _SAME}")

    def restarts(self, name: str, part: Part, pause: float = 25.0) -> Row:
        """Stop a server without a farewell and start it again, over and over, during a run."""
        life = self.life()
        done = threading.Event()
        count: Counter[str] = Counter()

        def again_and_again() -> None:
            while not done.wait(pause):
                part.stop()
                done.wait(2)
                part.start()
                count[name] += 1

        def check() -> None:
            life.finish()
            self.stack.start()
            self.compared(life)

        thread = threading.Thread(target=again_and_again)
        thread.start()
        fault = _checked(check, done, thread)
        number = count[name]
        print(f"{name}: {number} restarts {fault or 'held'}", flush=True)
        return Row(f"{name} restarted during a run", number, 0 if fault else number, fault or _SAME)


def _checked(check: Callable[[], None], done: threading.Event, thread: threading.Thread) -> str:
    def ended() -> None:
        check()

    try:
        return holds(ended)
    finally:
        done.set()
        thread.join()
