"""A run in small for tests of tracking: real stages, and steps that find them done."""

from __future__ import annotations

import json
from dataclasses import dataclass, field

from lidr.components.shared.config.recipe import Recipe
from lidr.components.shared.core.digest import digest_of_uri
from lidr.components.shared.core.events import emit
from lidr.components.shared.stats.intervals import wilson
from lidr.components.shared.step import step
from tests.fakes import finished_stage, make_recipe

LANGUAGES = ("en", "es", "de")

CURVES = [{"step": n, "loss": 1 / n, "reward_margin": n / 7} for n in range(1, 6)]


@dataclass
class SmallRun:
    """One iteration of a run on a store; every stage is made at once and found by its step.

    Attributes:
        store: URI of the store.
        run: its name.
        name: of the registered model; it must differ from that of other tests.
        sections: of the recipe, besides.
    """

    store: str
    run: str = "small"
    name: str = "small"
    sections: dict[str, object] = field(default_factory=dict)

    @property
    def recipe(self) -> Recipe:
        return make_recipe(registry={"model_name": self.name}, **self.sections)

    def world(self) -> str:
        return finished_stage(
            self.store, "prepare", {"model/config.json": b"{}"}, {"prompts": 4}
        ).uri

    def responses(self) -> str:
        part = {"failures": {"truncated": 3, "empty": 1}}
        counts = {
            "responses": 40,
            "languages": {"en": part, "es": part},
            "tokens_per_second": 812.5,
            "prefix_cache_hit_rate": 0.25,
        }
        world = digest_of_uri(self.world())
        return finished_stage(self.store, "generate", {}, counts, inputs=world, model=world).uri

    def translations(self) -> str:
        counts = {"translations": 20, "directions": {"en-es": {"failures": {"truncated": 4}}}}
        responses = digest_of_uri(self.responses())
        return finished_stage(self.store, "translate", {}, counts, responses=responses).uri

    def pairs(self) -> str:
        counts = {
            "pairs": 30,
            "candidates": 40,
            "identical_share": 0.1,
            "languages": {"es": {"kept": 12, "candidates": 16}},
        }
        inputs = {"responses": self.responses(), "translations": self.translations()}
        given = {key: digest_of_uri(uri) for key, uri in inputs.items()}
        return finished_stage(self.store, "pair", {}, counts, **given).uri

    def trained(self) -> str:
        lines = "".join(json.dumps(row) + "\n" for row in CURVES).encode()
        files = {"model/config.json": b"{}", "metrics.jsonl": lines}
        counts = {"pairs": 30, "steps": 5, "final": CURVES[-1]}
        pairs = digest_of_uri(self.pairs())
        return finished_stage(self.store, "train", files, counts, pairs=pairs).uri

    def evaluation(self, model: str) -> str:
        languages = {
            code: {
                "accuracy": wilson(4 + n, 10),
                "off_target": wilson(n, 10),
                "truncated": wilson(0, 10),
            }
            for n, code in enumerate(LANGUAGES)
        }
        counts = {"languages": languages, "average": wilson(11, 20)}
        inputs = {"model": digest_of_uri(model), "inputs": digest_of_uri(self.world())}
        return finished_stage(self.store, "evaluate", {}, counts, **inputs).uri

    def decision(self) -> str:
        counts = {
            "promoted": True,
            "decision": "promote",
            "verdict": "continue",
            "reason": "better, at last",
            "mean_gain": wilson(3, 10),
            "languages": {"es": {"gain": wilson(2, 10)}},
        }
        after = digest_of_uri(self.evaluation(self.trained()))
        return finished_stage(self.store, "gate", {}, counts, after=after).uri

    def follow(self, name: str, iteration: int, result: object, reused: bool = False) -> object:
        """Run a step that has the result at hand."""

        @step(name)
        def have(recipe: str, store: str, run: str, iteration: int) -> object:
            if reused:
                emit("reused")
            return result

        return have(
            recipe=self.recipe.model_dump_json(),
            store=self.store,
            run=self.run,
            iteration=iteration,
        )

    def start(self) -> None:
        """Do what comes before the first registration."""
        world = self.world()
        self.follow("prepare", 0, world)
        self.follow("evaluate", 0, self.evaluation(world))

    def iterate(self) -> None:
        """Do the stages of the first iteration."""
        self.follow("generate", 1, self.responses())
        self.follow("translate", 1, self.translations())
        self.follow("pair", 1, self.pairs())
        self.follow("train", 1, self.trained())
        self.follow("evaluate", 1, self.evaluation(self.trained()))
        self.follow("gate", 1, self.decision())

    def register(self, iteration: int) -> str:
        """Register a model with the real step."""
        from lidr.components.register.run import register

        world = self.world()
        model = self.trained() if iteration else world
        return register(
            recipe=self.recipe.model_dump_json(),
            store=self.store,
            run=self.run,
            inputs=world,
            model=model,
            evaluation=self.evaluation(model),
            decision=self.decision() if iteration else "",
            iteration=iteration,
            parent=f"{self.name}/1" if iteration else "",
        )


def told(client: object, run: SmallRun) -> dict[str, dict[str, object]]:
    """Return all that MLflow knows of a run, by the names of its MLflow runs, without ids."""
    found = {}
    experiment = client.get_experiment_by_name(f"lidr/{run.recipe.name}")
    query = f"tags.`lidr.run` = '{run.run}' and tags.`lidr.store` = '{run.store}'"
    known = client.search_runs([experiment.experiment_id], query)
    names = {each.info.run_id: each.info.run_name for each in known}
    assert len(set(names.values())) == len(known), "two MLflow runs stand for the same"
    for each in known:
        history = {
            key: sorted(
                (m.step, "" if key.endswith("/seconds") else str(m.value))
                for m in client.get_metric_history(each.info.run_id, key)
            )
            for key in each.data.metrics
        }
        found[each.info.run_name] = {
            "status": each.info.status,
            "parent": names.get(each.data.tags.get("mlflow.parentRunId")),
            "metrics": history,
            "params": {k: v for k, v in each.data.params.items() if "registry" not in k},
            "datasets": sorted(
                (d.dataset.name, d.dataset.digest, d.tags[0].value)
                for d in each.inputs.dataset_inputs
            ),
            "artifacts": sorted(a.path for a in client.list_artifacts(each.info.run_id)),
            "gate": each.data.tags.get("lidr.gate.decision"),
        }
    return found
