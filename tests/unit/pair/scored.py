"""Score and grade stages made by hand: samples of prompts, each with a text and a score."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lidr.components.pair.run import pair
from lidr.components.shared.config.recipe import Recipe
from lidr.components.shared.records.schema import (
    Failure,
    FinishReason,
    Prompt,
    Response,
    Score,
)
from lidr.components.shared.records.scores import SCORES_FILE, score_counts
from lidr.components.shared.store.open import open_store
from lidr.components.shared.store.stage import new_stage
from tests.fakes import make_recipe, world_stage

ICR = {"rewarder": "icr", "icr": {"reference": "/before", "length_penalty": 0}}
JUDGE = {"endpoint": {"model": "scripted"}}


@dataclass(frozen=True)
class Sample:
    """A sample: its text, its score, and why it has neither."""

    text: str
    score: float | None = 0.0
    failure: str | None = None


Samples = Mapping[tuple[str, str], Sequence[Sample]]
"""By prompt id and language."""


def scored_recipe(rewarder: str = "icr", **sections: Any) -> Recipe:
    pairing = ICR if rewarder == "icr" else {"rewarder": "judge"}
    given = {"generation": {"samples": 2, "temperature": 1.0}, "pairing": pairing}
    given |= {"judge": JUDGE} if rewarder == "judge" else {}
    pairing = {**pairing, "filters": "all", **sections.pop("pairing", {})}
    return make_recipe(**{**given, "pairing": pairing, **sections})


def write(
    folder: Path,
    samples: Samples,
    answers: Mapping[str, str] | None = None,
    tasks: Sequence[str] = (),
    step: str = "score",
) -> dict[str, str]:
    """Write prompts, responses and scores as finished stages; return what pair is given of them."""
    store = str(folder)
    prompts = [
        Prompt(key, code, f"Ask {key} in {code}?", (answers or {}).get(key), key in tasks)
        for code in ("en", "es", "de")
        for key in dict.fromkeys(prompt_id for prompt_id, _ in samples)
    ]
    world = world_stage(store, prompts)
    responses = new_stage(open_store(store), "generate", 1, {"inputs": world.digest}, {})
    scores = new_stage(open_store(store), step, 1, {"responses": responses.digest}, {})
    found: dict[str, list[Score]] = {}
    for (key, code), own in samples.items():
        rows = [_response(key, code, number, each) for number, each in enumerate(own)]
        responses.write_records(f"responses/{code}/{key}.parquet", rows, Response)
        found.setdefault(code, []).extend(
            Score(key, code, number, each.score, each.failure) for number, each in enumerate(own)
        )
    responses.finish({})
    scores.write_records(SCORES_FILE, [each for own in found.values() for each in own], Score)
    scores.finish(score_counts(found))
    return {
        "store": store,
        "inputs": world.uri,
        "responses": responses.uri,
        "rewards": scores.uri,
        "model": world.uri,
    }


def _response(key: str, code: str, number: int, sample: Sample) -> Response:
    cut = sample.failure in (Failure.TRUNCATED, Failure.REPETITION)
    reason = FinishReason.LENGTH if cut else FinishReason.STOP
    return Response(key, code, sample.text, reason, 7, 5, code, sample.failure, number)


def run(given: Mapping[str, str], recipe: Recipe) -> str:
    return pair(recipe=recipe.model_dump_json(), iteration=1, **given)
