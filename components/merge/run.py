"""merge: finishes the generate stage, and any translate stage, once every shard has written."""

from __future__ import annotations

from typing import NamedTuple

from lidr.components.rollout.answers import Answers
from lidr.components.rollout.figures import reuse_done
from lidr.components.rollout.prompts import PromptBook
from lidr.components.rollout.stages import generate_stage, translate_stage
from lidr.components.rollout.summaries import finish_responses, finish_translations
from lidr.components.rollout.translations import Translations
from lidr.components.shared.config.recipe import Recipe
from lidr.components.shared.core.languages import LanguageIdentifier
from lidr.components.shared.step import step
from lidr.components.shared.store.stage import open_stage


class Merged(NamedTuple):
    """URIs of the finished stages; "" for translations if the rewarder needs none."""

    responses: str
    translations: str


@step("merge")
def merge(
    recipe: str, store: str, inputs: str, model: str, iteration: int, run: str = ""
) -> Merged:
    """Check that every chunk of every shard is there, count the records and finish the stages.

    Args:
        recipe: the resolved recipe as JSON.
        store: URI of the store.
        inputs: URI of the stage `prepare`.
        model: URI of the stage that holds M_t.
        iteration: t + 1.
        run: name of the run, for its lease, notes and tracking.

    Returns:
        URIs of the generate stage and, if the rewarder needs it, the translate stage.

    Raises:
        EngineFailed: a chunk is missing.
        CorruptStage: a chunk is not a Parquet file.
    """
    settings = Recipe.model_validate_json(recipe)
    responses = generate_stage(settings, store, inputs, model, iteration)
    target = translate_stage(settings, store, responses.uri, model, iteration)
    translated = settings.pairing.reward_step == "translate"
    merged = Merged(responses.uri, target.uri if translated else "")
    if reuse_done(responses, *([target] if translated else [])):
        return merged
    prompts = PromptBook(open_stage(inputs), settings.prompts.per_iteration, iteration)
    identify = LanguageIdentifier(settings.languages.all).identify
    answers = Answers(settings, responses, prompts, iteration, identify)
    finish_responses(settings, answers)
    if translated:
        translations = Translations(settings, target, responses, prompts, iteration)
        finish_translations(settings, translations)
    return merged
