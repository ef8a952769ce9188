"""generate: M_t answers every prompt in every language (paper, section 3.1)."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from lidr.components.rollout import EngineSession, roll_out
from lidr.components.rollout.answers import Answers
from lidr.components.rollout.chunks import Chunk, Shard
from lidr.components.rollout.figures import reuse_done, worker_figures, write_note
from lidr.components.rollout.prompts import PromptBook
from lidr.components.rollout.stages import generate_stage, translate_stage
from lidr.components.rollout.summaries import finish_responses, finish_translations
from lidr.components.rollout.translations import Translations
from lidr.components.shared.config.machine import Machine
from lidr.components.shared.config.recipe import Recipe
from lidr.components.shared.core.languages import LanguageIdentifier
from lidr.components.shared.records.counts import Log, ignore, stage_figures
from lidr.components.shared.step import step
from lidr.components.shared.store.stage import open_stage


@step("generate")
def generate(
    recipe: str,
    store: str,
    inputs: str,
    model: str,
    iteration: int,
    shard: int = 0,
    shards: int = 1,
    log: Log = ignore,
    run: str = "",
) -> str:
    """Let M_t answer this iteration's prompts in every language.

    With the profile's `engine.fused`, and if the rewarder needs translations, the same engine also
    translates each response once it is complete; the translate step then finds its stage done.

    Args:
        recipe: the resolved recipe as JSON.
        store: URI of the store.
        inputs: URI of the stage `prepare`, which holds the prompts.
        model: URI of the stage that holds M_t.
        iteration: t + 1.
        shard: number of this worker's part of the chunks, from 0.
        shards: number of workers; with several, the merge step finishes the stage.
        log: called with throughput, cache hit rate and failure shares.
        run: name of the run, for its lease, notes and tracking.

    Returns:
        URI of the stage: `responses/<language>/<chunk>.parquet` with Response records.

    Raises:
        EngineFailed: the inference engine died; finished chunks are kept.
    """
    settings = Recipe.model_validate_json(recipe)
    stage = generate_stage(settings, store, inputs, model, iteration)
    target = translate_stage(settings, store, stage.uri, model, iteration)
    machine = Machine.from_environment().engine
    fused = machine.fused and settings.pairing.reward_step == "translate"
    stages = [stage, target] if fused else [stage]
    if reuse_done(*stages):
        return stage.uri
    prompts = PromptBook(open_stage(inputs), settings.prompts.per_iteration, iteration)
    identify = LanguageIdentifier(settings.languages.all).identify
    answers = Answers(settings, stage, prompts, iteration, identify)
    translations = Translations(settings, target, stage, prompts, iteration)

    def plan() -> Iterator[Chunk[Any]]:
        return answers.chunks(Shard(shard, shards), translations.followers if fused else None)

    within = "" if stage.done() else "generate"  # a finished stage's marker says what it took
    with EngineSession(settings, model) as session:
        roll_out(session, stages, plan, machine.restarts)
        write_note(stage, session, shard)
        if fused:
            write_note(target, session, shard, within=within)
        figures = worker_figures(session)
    if shards == 1:
        finish_responses(settings, answers)
        if fused:
            finish_translations(settings, translations)
        figures = stage_figures(stage.counts())
    for name, value in figures.items():
        log(name, value)
    return stage.uri
