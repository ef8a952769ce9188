"""translate: M_t translates its own responses, both ways (paper, section 3.1)."""

from __future__ import annotations

from functools import partial

from lidr.components.rollout import EngineSession, roll_out
from lidr.components.rollout.chunks import Shard
from lidr.components.rollout.figures import reuse_done, worker_figures, write_note
from lidr.components.rollout.prompts import PromptBook
from lidr.components.rollout.stages import translate_stage
from lidr.components.rollout.summaries import finish_translations
from lidr.components.rollout.translations import Translations
from lidr.components.shared.config.machine import Machine
from lidr.components.shared.config.recipe import Recipe
from lidr.components.shared.records.counts import Log, ignore, stage_figures
from lidr.components.shared.step import step
from lidr.components.shared.store.stage import locate_stage, open_stage


@step("translate")
def translate(
    recipe: str,
    store: str,
    inputs: str,
    responses: str,
    model: str,
    iteration: int,
    shard: int = 0,
    shards: int = 1,
    log: Log = ignore,
    run: str = "",
) -> str:
    """Let M_t translate its responses between the dominant language and each other one, both ways.

    Args:
        recipe: the resolved recipe as JSON.
        store: URI of the store.
        inputs: URI of the stage `prepare`; responses to its translation tasks are not translated.
        responses: URI of the generate stage, which must have this shard's chunks.
        model: URI of the stage that holds M_t.
        iteration: t + 1.
        shard: number of this worker's part of the chunks, from 0.
        shards: number of workers; with several, the merge step finishes the stage.
        log: called with throughput, cache hit rate and failure shares.
        run: name of the run, for its lease, notes and tracking.

    Returns:
        URI of the stage: `translations/<source>-<target>/<chunk>.parquet` with Translation
        records, and `round_trip/<source>-<target>/...` with a sample of those translations,
        translated back from target to source.

    Raises:
        EngineFailed: the inference engine died; finished chunks are kept.
    """
    settings = Recipe.model_validate_json(recipe)
    stage = translate_stage(settings, store, responses, model, iteration)
    if reuse_done(stage):
        return stage.uri
    prompts = PromptBook(open_stage(inputs), settings.prompts.per_iteration, iteration)
    translations = Translations(settings, stage, locate_stage(responses), prompts, iteration)
    plan = partial(translations.chunks, Shard(shard, shards))
    with EngineSession(settings, model) as session:
        roll_out(session, [stage], plan, Machine.from_environment().engine.restarts)
        write_note(stage, session, shard)
        figures = worker_figures(session)
    if shards == 1:
        finish_translations(settings, translations)
        figures = stage_figures(stage.counts())
    for name, value in figures.items():
        log(name, value)
    return stage.uri
