"""train: M_t and preference pairs become M_{t+1}."""

from __future__ import annotations

from lidr.components.shared.config.recipe import Recipe
from lidr.components.shared.core.digest import seed_of
from lidr.components.shared.core.events import emit
from lidr.components.shared.kubernetes import exchange
from lidr.components.shared.kubernetes.launch import Launch, Placement, TaskConfig
from lidr.components.shared.models.chat import ChatSettings
from lidr.components.shared.step import step
from lidr.components.shared.store.stage import Stage
from lidr.components.train.distributed import checkpoints
from lidr.components.train.distributed.checkpoints import Checkpoints
from lidr.components.train.job import TrainingJob
from lidr.components.train.launch import launcher_of
from lidr.components.train.launch.exchange import TrainExchange
from lidr.components.train.launch.fit import require_fit
from lidr.components.train.stage import start_and_reference, train_stage


@step("train")
def train(
    recipe: str,
    store: str,
    inputs: str,
    pairs: str,
    model: str,
    iteration: int,
    launch: str = "",
    placement: TaskConfig | None = None,
    run: str = "",
) -> str:
    """Train M_t into M_{t+1} on preference pairs: L_DPO + alpha * L_NLL.

    A finished stage is reused; an interrupted one resumes from its last checkpoint.

    Args:
        recipe: the resolved recipe as JSON.
        store: URI of the store.
        inputs: URI of the stage `prepare`, which holds M_0.
        pairs: URI of the pair stage.
        model: URI of the stage that holds M_t.
        iteration: t + 1.
        launch: how the ranks are started, as `Launch.text` writes it. The number of ranks changes
            the result by rounding only: the stage's marker has it, its digest does not.
        placement: KFP's TaskConfig, for the nodes of a TrainJob.
        run: name of the run, for its lease, notes and tracking.

    Returns:
        URI of the stage: `model/` with M_{t+1} (or `adapter/`, if training.lora.merge is false),
        `metrics.jsonl` with a row per optimizer step, and `margins.parquet` with the reward
        margins of some pairs at the end.

    Raises:
        BadInput: there are no pairs to train on, the start model is unusable, or the GPUs have too
            little memory.
        TrainingFailed: the loss is not finite, or the trained model fails its checks.
        LaunchFailed: a rank died, or no machine was found for it.
        StoreError: the store, or the disk for checkpoints, is full.
        Stopped: training was asked to end; its checkpoint is complete.
    """
    settings = Recipe.model_validate_json(recipe)
    start, reference = start_and_reference(settings, inputs, model)
    stage = train_stage(settings, store, inputs, pairs, model, iteration)
    if stage.done():
        emit("reused")
        _clear(stage)
        return stage.uri
    launching = Launch.parse(launch)
    job = TrainingJob(
        store=store,
        stage=stage.prefix,
        pairs=pairs,
        start=start,
        reference=reference,
        training=settings.training,
        chat=ChatSettings.of(settings.model),
        seed=seed_of(settings.seed, "train", iteration),
        dtype=settings.model.dtype,
        machine=launching.settings,
        zero=launching.zero,
        run=run,
        iteration=iteration,
    )
    require_fit(job, launching)
    summary = launcher_of(launching, Placement.of(placement)).run(job)
    if summary is not None:  # else another run's launcher has finished the stage
        stage.digests.update(summary.digests)
        stage.finish(summary.counts, exclude=tuple(f"{each}/" for each in _TEMPORARY))
    _clear(stage)
    return stage.uri


_TEMPORARY = (checkpoints.FOLDER, exchange.FOLDER)
"""Folders of a train stage that are deleted once it is finished."""


def _clear(stage: Stage) -> None:
    """Delete checkpoints and exchange, which are needed until the marker is written."""
    Checkpoints(stage).clear()
    TrainExchange(stage).clear()
