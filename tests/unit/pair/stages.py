"""What pair reads, made by hand: prompts, answers and translations in the recipe's languages."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from lidr.components.pair.rewarders.lidr.candidates import SampleRecords
from lidr.components.pair.run import pair
from lidr.components.shared.records.schema import (
    Failure,
    FinishReason,
    PreferencePair,
    Prompt,
    Response,
    Translation,
)
from lidr.components.shared.store.open import open_store
from lidr.components.shared.store.stage import Stage, new_stage, open_stage
from tests.fakes import make_recipe, world_stage

LANGUAGES = ("en", "es", "de")
OTHERS = LANGUAGES[1:]
WAYS = [("en", "es"), ("en", "de"), ("es", "en"), ("de", "en")]

OWN = {
    "en": "Nina has four books and finds two more in the kitchen.",
    "es": "Nina tiene cuatro libros y encuentra dos más en la cocina.",
    "de": "Nina hat vier Bücher und findet zwei weitere in der Küche.",
}
TRANSLATED = {
    "en": "There are four books, and Nina discovers two others in the kitchen.",
    "es": "Hay cuatro libros, y Nina descubre otros dos en la cocina.",
    "de": "Es gibt vier Bücher, und Nina entdeckt in der Küche zwei andere.",
}
LOOP = f"{TRANSLATED['es']} " + "Y otros dos. " * 20


def own(prompt_id: str, code: str) -> str:
    return f"{OWN[code]} ({prompt_id})"


def translated(prompt_id: str, source: str, target: str) -> str:
    return f"{TRANSLATED[target]} ({prompt_id}, {source})"


def answered(
    prompt_id: str, code: str, text: str | None = None, failure: Failure | None = None
) -> Response:
    reason = FinishReason.LENGTH if failure is Failure.TRUNCATED else FinishReason.STOP
    text = own(prompt_id, code) if text is None else text
    return Response(prompt_id, code, text, reason, 7, 5, code, failure)


def moved(
    prompt_id: str,
    source: str,
    target: str,
    text: str | None = None,
    failure: Failure | None = None,
) -> Translation:
    text = text or translated(prompt_id, source, target)
    return Translation(
        prompt_id, source, target, None if failure else text, FinishReason.STOP, 5, failure
    )


@dataclass
class Records:
    """The records of three stages, by key, so that a test can exchange or remove one."""

    prompts: dict[tuple[str, str], Prompt] = field(default_factory=dict)
    responses: dict[tuple[str, str], Response] = field(default_factory=dict)
    translations: dict[tuple[str, str, str], Translation] = field(default_factory=dict)
    round_trips: dict[tuple[str, str, str], Translation] = field(default_factory=dict)

    def answer(
        self, prompt_id: str, code: str, text: str | None = None, failure: Failure | None = None
    ) -> None:
        self.responses[prompt_id, code] = answered(prompt_id, code, text, failure)

    def move(
        self,
        prompt_id: str,
        source: str,
        target: str,
        text: str | None = None,
        failure: Failure | None = None,
    ) -> None:
        record = moved(prompt_id, source, target, text, failure)
        self.translations[prompt_id, source, target] = record

    def move_back(self, prompt_id: str, source: str, target: str, text: str) -> None:
        """Add the way back of the translation from source to target."""
        record = moved(prompt_id, target, source, text)
        self.round_trips[prompt_id, source, target] = record

    def samples(self) -> list[SampleRecords]:
        return [SampleRecords(self.prompts, self.responses, self.translations, self.round_trips)]


def good_records(*ids: str, tasks: Sequence[str] = ()) -> Records:
    """Return records in which nothing failed; prompts in `tasks` are about translation."""
    made = Records()
    for prompt_id in ids:
        task = prompt_id in tasks
        for code in LANGUAGES:
            made.prompts[prompt_id, code] = Prompt(
                prompt_id, code, f"Ask {prompt_id} in {code}?", translation_task=task
            )
            made.answer(prompt_id, code)
        for source, target in () if task else WAYS:
            made.move(prompt_id, source, target)
    return made


@dataclass(frozen=True)
class Inputs:
    """URIs of the stages that pair reads."""

    store: str
    world: str
    responses: str
    translations: str


def write(folder: Path, records: Records, order: int = 1, chunk: int = 2) -> Inputs:
    """Write records as finished stages.

    Args:
        folder: becomes the store.
        records: what to write.
        order: 1 as they come, -1 backwards.
        chunk: records per file.
    """
    store = str(folder)
    world = world_stage(store, list(records.prompts.values())[::order])
    made = {"order": order, "chunk": chunk}
    responses = new_stage(open_store(store), "generate", 1, {"inputs": world.digest}, made)
    for code in LANGUAGES:
        rows = [row for row in records.responses.values() if row.language == code]
        _chunks(responses, f"responses/{code}", rows[::order], Response, chunk)
    answers = responses.finish({})
    moved_stage = new_stage(
        open_store(store), "translate", 1, {"responses": responses.digest}, made
    )
    for name, found in (
        ("translations", records.translations),
        ("round_trip", records.round_trips),
    ):
        for source, target in WAYS:
            rows = [row for key, row in found.items() if key[1:] == (source, target)]
            _chunks(moved_stage, f"{name}/{source}-{target}", rows[::order], Translation, chunk)
    return Inputs(store, world.uri, answers, moved_stage.finish({}))


def _chunks(stage: Stage, folder: str, rows: list[Any], kind: type, size: int) -> None:
    for start in range(0, len(rows), size):
        name = f"{folder}/{start // size:05d}.parquet"
        stage.write_records(name, rows[start : start + size], kind)


def run(inputs: Inputs, iteration: int = 1, **sections: object) -> str:
    return pair(
        recipe=make_recipe(**{"pairing": {"filters": "all"}} | sections).model_dump_json(),
        store=inputs.store,
        inputs=inputs.world,
        responses=inputs.responses,
        rewards=inputs.translations,
        model=inputs.world,
        iteration=iteration,
    )


def pairs_of(uri: str) -> list[PreferencePair]:
    return open_stage(uri).read_records(["pairs.parquet"], PreferencePair)


def dropped_of(uri: str) -> dict[tuple[str, str, str, str], str]:
    """Return the reasons by (prompt_id, language, other_language, kind)."""
    rows = open_stage(uri).read_table(["dropped.parquet"]).to_pylist()
    names = ("prompt_id", "language", "other_language", "kind")
    return {tuple(row[name] for name in names): row["reason"] for row in rows}
