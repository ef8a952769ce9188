"""A small chain of real stages, as a run of several iterations leaves it, without its engines."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime

from lidr.components.register.tags import version_tags
from lidr.components.shared.core.digest import digest_of, digest_of_uri
from lidr.components.shared.models.sources import model_uri
from lidr.components.shared.registry.versions import Version
from lidr.components.shared.store.open import open_store
from lidr.components.shared.store.stage import Stage, new_stage
from lidr.components.state.run import write_state
from tests.fakes import make_recipe

LONG_AGO = datetime(2020, 1, 1, tzinfo=UTC)


@dataclass
class Chain:
    """A run: `rounds[t]` has the stages of iteration t by step."""

    store: str
    name: str = "tiny"
    run: str = "first"
    rounds: list[dict[str, Stage]] = field(default_factory=list)

    @property
    def recipe(self) -> str:
        return make_recipe(registry={"model_name": self.name}).model_dump_json()

    @property
    def world(self) -> Stage:
        return self.rounds[0]["prepare"]

    @property
    def stages(self) -> list[Stage]:
        return [stage for stages in self.rounds for stage in stages.values()]

    def model(self, t: int) -> Stage:
        return self.rounds[t]["train" if t else "prepare"]

    def label(self, t: int) -> str:
        return f"{self.name}/{t + 1}"

    def tags(self, t: int) -> dict[str, str]:
        """Return the tags that the register step gives M_t."""
        inputs = {
            "model": self.model(t).uri,
            "evaluation": self.rounds[t]["evaluate"].uri,
            "judgements": "",
            "decision": self.rounds[t]["gate"].uri if t else "",
        }
        parent = self.label(t - 1) if t else ""
        settings = make_recipe(registry={"model_name": self.name})
        return version_tags(settings, self.world.uri, inputs, t, parent)

    def version(self, t: int, *aliases: str, created: datetime = LONG_AGO) -> Version:
        """Return M_t as MLflow would have it."""
        source = model_uri(self.model(t).uri)
        return Version(self.name, t + 1, source, self.tags(t), aliases, "", created)

    def grow(self, *, verdict: str = "continue", wide: bool = False) -> None:
        """Add an iteration.

        Args:
            verdict: of its gate.
            wide: whether the rollout has more files.
        """
        t = len(self.rounds)
        model, before = self.model(t - 1), self.rounds[t - 1]["evaluate"]
        chunks = [f"chunks/{n}.parquet" for n in range(4 if wide else 1)]
        read = {"inputs": self.world, "model": model}
        responses = self._stage("generate", t, read, chunks)
        translations = self._stage("translate", t, {"responses": responses, "model": model}, chunks)
        read |= {"responses": responses, "translations": translations}
        pairs = self._stage("pair", t, read, ["pairs.parquet", "dropped.parquet"])
        weights = ["model/config.json", "model/model.safetensors", "metrics.jsonl"]
        read = {"pairs": pairs, "start": model, "reference": model}
        trained = self._stage("train", t, read, weights)
        evaluation = self._stage("evaluate", t, {"model": trained}, ["items.parquet"])
        read = {"before": before, "after": evaluation, "pairs": pairs}
        told = {"decision": "promote", "verdict": verdict, "promoted": True, "reason": "a test"}
        gate = self._stage("gate", t, read, [], told)
        self.rounds.append(
            {
                "generate": responses,
                "translate": translations,
                "pair": pairs,
                "train": trained,
                "evaluate": evaluation,
                "gate": gate,
            }
        )
        self.register(t)
        self.end(t)

    def register(self, t: int) -> None:
        """Write the stage that the register step leaves."""
        read = {"model": self.model(t), "evaluation": self.rounds[t]["evaluate"]}
        told = {"version": self.label(t)}
        self.rounds[t]["register"] = self._stage("register", t, read, [], told)

    def end(self, t: int) -> None:
        """Write the run's state."""
        stages = {step: stage.uri for step, stage in self.rounds[t].items()}
        write_state(
            recipe=self.recipe,
            store=self.store,
            run=self.run,
            iteration=t,
            inputs=self.world.uri,
            responses=stages.get("generate", ""),
            translations=stages.get("translate", ""),
            pairs=stages.get("pair", ""),
            model=self.model(t).uri,
            evaluation=stages["evaluate"],
            judgements="",
            decision=stages.get("gate", ""),
            version=self.label(t),
        )

    def _stage(
        self,
        step: str,
        t: int,
        read: Mapping[str, Stage],
        files: list[str],
        counts: Mapping[str, object] | None = None,
    ) -> Stage:
        inputs = {name: stage.digest for name, stage in read.items()}
        settings = {"iteration": t, "run": self.run if step != "prepare" else ""}
        stage = new_stage(open_store(self.store), step, 1, inputs, settings)
        for name in files:
            stage.write(name, f"{step} {t} {name} {'x' * 40}".encode())
        stage.finish(counts or {})
        return stage


def make_chain(store: str, iterations: int = 2, **names: str) -> Chain:
    """Return a run with M_0 in its world stage; the last iteration ends it."""
    chain = Chain(store, **names)
    weights = ["model/config.json", "model/model.safetensors", "prompts/en.parquet"]
    world = chain._stage("prepare", 0, {}, weights)
    chain.rounds.append({"prepare": world})
    chain.rounds[0]["evaluate"] = chain._stage("evaluate", 0, {"model": world}, ["items.parquet"])
    chain.register(0)
    chain.end(0)
    for t in range(1, iterations + 1):
        chain.grow(verdict="stop" if t == iterations else "continue")
    return chain


def outside_world(store: str, source: str, adapter: str = "") -> Stage:
    """Write the world stage of a recipe whose model is elsewhere."""
    described = {"source": source, "digest": digest_of(source)}
    described |= {"adapter": adapter, "adapter_digest": digest_of(adapter)} if adapter else {}
    stage = new_stage(open_store(store), "prepare", 1, {"model": described["digest"]}, {})
    stage.write("model.json", json.dumps(described).encode())
    files = {"en": [{"file": "s3://prompts/en.jsonl", "sha256": digest_of("en")}]}
    stage.finish({}, {"model": described, "prompt_files": files})
    return stage


def adapter_stage(store: str, base: Stage) -> Stage:
    """Write a train stage that holds an adapter alone."""
    inputs = {"pairs": digest_of("pairs"), "start": base.digest, "reference": base.digest}
    stage = new_stage(open_store(store), "train", 2, inputs, {})
    stage.write("base.json", json.dumps({"stage": base.uri}).encode())
    stage.write("adapter/adapter_model.safetensors", b"weights")
    stage.finish({})
    return stage


def digests_of(uris: list[str]) -> list[str]:
    """Return the digests that URIs end in."""
    return [digest_of_uri(uri) for uri in uris]
