"""The KFP components of the tasks that run several steps."""

from typing import NamedTuple

from kfp import dsl

from lidr.components.shared.component import image_component


@image_component
def conclude(
    recipe: str,
    store: str,
    run: str,
    iteration: int,
    max_iterations: int,
    inputs: str,
    model: str,
    evaluation: str,
    judgements: str,
    version: str,
    verdict: str,
    metrics: dsl.Output[dsl.Metrics],
) -> NamedTuple(  # type: ignore[valid-type]
    "State",
    [
        ("model", str),
        ("evaluation", str),
        ("judgements", str),
        ("version", str),
        ("verdict", str),
    ],
):
    """Gate, register and state of an iteration: decide on M_{t+1}, register it, write the state.

    Args:
        recipe: the resolved recipe as JSON, or its reference on the store.
        store: URI of the store.
        run: name of the run.
        iteration: 0 for the start, t + 1 for the iteration that made M_{t+1}.
        max_iterations: the loop stops after this many iterations.
        inputs: URI of the stage `prepare`, which holds M_0.
        model: URI of the stage that holds M_t; empty at the start.
        evaluation: URI of the evaluate stage of M_t; empty at the start.
        judgements: URI of the judge stage of M_t; empty without a judge.
        version: registered version of M_t; empty at the start.
        verdict: anything but `continue` means that the iteration was skipped.
        metrics: gains by language, whether M_{t+1} is promoted and whether the loop goes on.

    Returns:
        What the next iteration starts from: M_{t+1} if it was promoted, else M_t; with its
        evaluation, its judgements, its registered version and the verdict.
    """
    from lidr.pipelines.tasks import conclusion as step

    return step.conclude(
        recipe=recipe,
        store=store,
        run=run,
        iteration=iteration,
        max_iterations=max_iterations,
        inputs=inputs,
        model=model,
        evaluation=evaluation,
        judgements=judgements,
        version=version,
        verdict=verdict,
        log=metrics.log_metric,
    )


@image_component
def finish(
    recipe: str,
    store: str,
    run: str,
    status: dsl.PipelineTaskFinalStatus,
    overview: dsl.Output[dsl.HTML],
) -> str:
    """Clean up after the loop, however it ended, and write its report.

    Args:
        recipe: the resolved recipe as JSON, or its reference on the store.
        store: URI of the store.
        run: name of the run; empty if check-inputs chooses it.
        status: how the loop ended; filled in by KFP.
        overview: the report without its samples, for Kubeflow's page.

    Returns:
        URI of the final model's folder; empty if there is none.
    """
    from lidr.pipelines.tasks import ending as step

    return step.finish(
        recipe=recipe,
        store=store,
        run=run,
        state=status.state,
        error=status.error_message or "",
        overview=overview.path,
    )


@image_component(
    task_config_passthroughs=[
        dsl.TaskConfigField.RESOURCES,
        dsl.TaskConfigField.KUBERNETES_NODE_SELECTOR,
        dsl.TaskConfigField.KUBERNETES_TOLERATIONS,
        dsl.TaskConfigField.KUBERNETES_AFFINITY,
        dsl.TaskConfigPassthrough(field=dsl.TaskConfigField.ENV, apply_to_task=True),
    ]
)
def roll_out(
    recipe: str,
    store: str,
    run: str,
    inputs: str,
    model: str,
    iteration: int,
    shards: int,
    launch: str,
    placement: dsl.TaskConfig,
    metrics: dsl.Output[dsl.Metrics],
) -> NamedTuple(  # type: ignore[valid-type]
    "Merged", [("responses", str), ("translations", str)]
):
    """Let M_t answer and translate in several shards, and finish both stages.

    Args:
        recipe: the resolved recipe as JSON, or its reference on the store.
        store: URI of the store.
        run: name of the run.
        inputs: URI of the stage `prepare`, which holds the prompts.
        model: URI of the stage that holds M_t.
        iteration: t + 1.
        shards: how many there are.
        launch: how they are started, from the profile; empty: on this machine.
        placement: resources and node selection for the pods of a TrainJob; filled in by KFP.
        metrics: throughput, cache hit rate and failure shares of both stages.

    Returns:
        URIs of the generate and the translate stage; the latter is empty if the rewarder needs no
        translation.
    """
    from lidr.pipelines.tasks import rollout as step

    return step.roll_out(
        recipe=recipe,
        store=store,
        run=run,
        inputs=inputs,
        model=model,
        iteration=iteration,
        shards=shards,
        launch=launch,
        placement=placement,
        log=metrics.log_metric,
    )
