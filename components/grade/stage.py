"""The address of the grade stage, importable without the step."""

from __future__ import annotations

from lidr.components.judging.prompts import load_prompt
from lidr.components.shared.config.recipe import Recipe
from lidr.components.shared.core.digest import digest_of_uri
from lidr.components.shared.store.open import open_store
from lidr.components.shared.store.stage import Stage, new_stage

VERSION = 1

PROMPT = "score"
"""Name of the prompt file for grading a single answer."""


def grade_stage(settings: Recipe, store: str, inputs: str, responses: str, iteration: int) -> Stage:
    """Return the stage with the judge's grades of an iteration's responses, complete or not."""
    judge = settings.require_judge()
    return new_stage(
        open_store(store),
        "grade",
        VERSION,
        {"inputs": digest_of_uri(inputs), "responses": digest_of_uri(responses)},
        {
            "iteration": iteration,
            "per_iteration": settings.prompts.per_iteration,
            "languages": settings.languages.model_dump(mode="json"),
            "truncated": settings.pairing.active.truncated,
            "model": judge.endpoint.model,
            "max_tokens": judge.max_tokens,
            "top_logprobs": judge.top_logprobs,
            "prompt": load_prompt(PROMPT, judge.prompts).digest,
        },
    )
