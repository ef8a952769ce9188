"""A promotion as a pipeline: evaluate a version and the champion, compare, promote."""

from typing import Any

from kfp import dsl
from kfp.dsl.base_component import BaseComponent

from lidr.components.evaluate.component import evaluate
from lidr.components.gate.component import gate
from lidr.components.judge.component import judge
from lidr.components.nominate.component import nominate
from lidr.components.prepare.component import prepare
from lidr.components.promote.component import promote
from lidr.components.shared.config.recipe import Recipe
from lidr.components.shared.store.recipes import reference_of
from lidr.pipelines.placement import Placement

_MAX_ITERATIONS = 5
"""Any number above the gate's iteration: a promotion has no later iteration to stop."""


def build_promotion(
    settings: Recipe,
    store_uri: str,
    place: Placement,
    *,
    by_reference: bool = False,
    on_store: bool = False,
) -> BaseComponent:
    """Return the pipeline, ready to be compiled or called.

    It is the second half of one iteration, on existing models. Evaluations of any run are reused.

    Args:
        settings: the recipe, whose benchmarks and gate decide; the pipeline's default.
        store_uri: URI of the store; the pipeline's default.
        place: applies the profile to a task.
        by_reference: whether tasks get the recipe's reference on the store instead of the recipe.
        on_store: whether the recipe is on the store already; else the first task puts it there.
    """
    judged = settings.is_judged
    text = settings.model_dump_json()
    given = reference_of(settings) if by_reference else text
    inline = by_reference and not on_store

    @dsl.pipeline(name=f"lidr-promote-{settings.name}")
    def promotion(
        recipe: str = given,
        store: str = store_uri,
        name: str = settings.registered_model,
        version: str = "@candidate",
        alias: str = "champion",
        reason: str = "",
    ) -> str:
        """Promote a version if the gate finds it better than the one in its place.

        Args:
            recipe: the resolved recipe as JSON, or its reference on the store.
            store: URI of the store, a folder or `s3://bucket/prefix`.
            name: of the registered model.
            version: the challenger, a number or an alias after @.
            alias: the alias that the version is to get.
            reason: why, for the record; empty for the gate's own.

        Returns:
            The promoted version, as `<registered model>/<version>`.
        """
        common = {"recipe": recipe, "store": store, "run": ""}  # nothing is learnt: no MLflow run
        chosen = place(
            nominate(store=store, name=name, version=version, alias=alias, reason=reason)
        ).outputs
        inputs = place(prepare(**common | ({"recipe": text} if inline else {}))).output
        measured = [
            place(evaluate(**common, inputs=inputs, model=chosen[role], iteration=number)).outputs[
                "Output"
            ]
            for number, role in enumerate(("champion", "challenger"), start=1)
        ]
        verdicts: dict[str, Any] = {}
        if judged:
            verdicts = {
                key: place(
                    judge(**common, evaluation=after, before=before, iteration=number)
                ).output
                for number, (key, before, after) in enumerate(
                    [("judged_before", "", measured[0]), ("judged_after", *measured)], start=1
                )
            }
        decision = place(
            gate(
                **common,
                before=measured[0],
                after=measured[1],
                iteration=2,  # at 1, the gate would also check the premise, which is about M_0
                max_iterations=_MAX_ITERATIONS,
                **verdicts,
            )
        ).output
        final: str = place(
            promote(
                store=store,
                name=name,
                challenger_number=chosen["challenger_number"],
                champion_number=chosen["champion_number"],
                alias=alias,
                decision=decision,
                reason=reason,
            )
        ).output
        return final

    return promotion
