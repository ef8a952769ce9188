"""train: M_t and preference pairs become M_{t+1}."""

from __future__ import annotations

from components.shared.digest import digest_of_uri, seed_of
from components.shared.progress import emit, step
from components.shared.recipe import Recipe
from components.shared.stage import Stage, new_stage
from components.shared.store import open_store
from components.train.checkpoints import Checkpoints
from components.train.trainer import Job, run_training

VERSION = 2

_MACHINE = {"checkpoint_steps", "gradient_checkpointing", "zero", "shard_gigabytes"}
"""Settings that change no result beyond rounding, so they are no part of the stage's digest."""


@step("train")
def train(recipe: str, store: str, world: str, pairs: str, model: str, iteration: int) -> str:
    """Train M_t into M_{t+1} on preference pairs: L_DPO + alpha * L_NLL.

    A finished stage is not computed again; an interrupted one goes on from its last checkpoint.

    Args:
        recipe: the resolved recipe as JSON.
        store: URI of the store.
        world: URI of the world stage, which holds M_0.
        pairs: URI of the pair stage.
        model: URI of the stage that holds M_t.
        iteration: t + 1.

    Returns:
        URI of the stage: `model/` with M_{t+1}, and `metrics.jsonl` with a row per optimizer step.

    Raises:
        BadInput: there are no pairs to train on, or the start model is unusable.
        TrainingFailed: the loss is not finite, or the trained model fails its checks.
    """
    settings = Recipe.model_validate_json(recipe)
    models = {"previous": model, "base": world}
    start = models[settings.training.start]
    reference = models[settings.training.reference]
    stage = new_stage(
        open_store(store),
        "train",
        VERSION,
        {
            "pairs": digest_of_uri(pairs),
            "start": digest_of_uri(start),
            "reference": digest_of_uri(reference),
        },
        {
            "seed": settings.seed,
            "iteration": iteration,
            **settings.training.model_dump(mode="json", exclude=_MACHINE),
        },
    )
    if stage.done():
        emit("reused")
        return stage.uri
    job = Job(
        store=store,
        stage=stage.prefix,
        pairs=pairs,
        start=start,
        reference=reference,
        training=settings.training,
        seed=seed_of(settings.seed, "train", iteration),
    )
    return _finish(stage, job)


def _finish(stage: Stage, job: Job) -> str:
    summary = run_training(job)
    stage.digests.update(summary.digests)
    Checkpoints(stage).clear()
    return stage.finish(summary.counts)
