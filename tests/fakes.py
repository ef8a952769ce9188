"""Hand-written stand-ins for tests in which an engine is not the subject."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from itertools import chain
from pathlib import Path

from lidr.components.shared.config.machine import MACHINE, EngineSettings, Machine
from lidr.components.shared.config.recipe import Recipe
from lidr.components.shared.core.errors import EngineFailed
from lidr.components.shared.engines import (
    ChatRequest,
    Completion,
    Decoding,
    Likelihoods,
    ScoreRequest,
)
from lidr.components.shared.models.sources import model_files
from lidr.components.shared.records.schema import FinishReason, Prompt
from lidr.components.shared.store.open import open_store
from lidr.components.shared.store.stage import Stage, new_stage

Answer = Callable[[ChatRequest], Completion]


def make_recipe(**sections: object) -> Recipe:
    """Return a small recipe over the tiny world's languages; sections replace its own."""
    base: dict[str, object] = {
        "name": "tiny-world",
        "languages": {"dominant": "en", "others": ["es", "de"]},
        "model": {"source": "toy"},
        "prompts": {"per_iteration": 4},
        "generation": {"engine": "transformers", "chunk_size": 2},
        "translation": {"round_trip_sample": 2},
        "pairing": {"filters": "paper"},
        "evaluation": {"tasks": ["tiny_world_{language}"]},
        "gate": {"resamples": 500},
    }
    return Recipe.model_validate(base | sections)


def says(text: str, finish_reason: str = FinishReason.STOP, tokens: int = 5) -> Answer:
    """Return an answer function that always says the same."""
    return lambda request: Completion(request.key, text, finish_reason, 7, tokens)


class FakeEngine:
    """Answers by a function of the request, in reverse order, and keeps what it was asked."""

    def __init__(self, answer: Answer) -> None:
        self.answer = answer
        self.asked: list[ChatRequest] = []
        self.closed = False

    @property
    def decodings(self) -> list[Decoding]:
        """The different ways of decoding that were asked for."""
        return list(dict.fromkeys(request.decoding for request in self.asked))

    def complete(self, requests: Iterable[ChatRequest | None]) -> Iterator[Completion]:
        """Yield the answers; of those that come together, the last request's first."""
        together: list[ChatRequest] = []
        for request in chain(requests, [None]):
            if request is not None:
                together.append(request)
                continue
            for each in reversed(together):
                self.asked.append(each)
                yield self.answer(each)
            together = []

    def score(self, requests: Iterable[ScoreRequest]) -> Iterator[Likelihoods]:
        """Find the continuation that the answer begins with the likeliest, and no other greedy."""
        for request in requests:
            text = self.answer(ChatRequest(request.key, request.messages)).text
            hits = tuple(text.startswith(each.strip()) for each in request.continuations)
            yield Likelihoods(request.key, tuple(-1.0 if hit else -2.0 for hit in hits), hits, 7)

    def stats(self) -> dict[str, float]:
        """Return nothing."""
        return {}

    def close(self) -> None:
        """Note that the engine was closed."""
        self.closed = True


class DyingEngine(FakeEngine):
    """Dies after a number of answers."""

    def __init__(self, answer: Answer, after: int) -> None:
        super().__init__(answer)
        self.after = after

    def complete(self, requests: Iterable[ChatRequest | None]) -> Iterator[Completion]:
        """Yield answers until it is time."""
        for number, completion in enumerate(super().complete(requests)):
            if number == self.after:
                raise EngineFailed("the engine died")
            yield completion


def finished_stage(
    store: str,
    step: str,
    files: Mapping[str, bytes],
    counts: Mapping[str, object] | None = None,
    **inputs: str,
) -> Stage:
    """Write a complete stage that holds the given files."""
    stage = new_stage(open_store(store), step, 1, inputs, {"files": sorted(files)})
    for name, data in files.items():
        stage.write(name, data)
    stage.finish(counts or {})
    return stage


def world_stage(store: str, prompts: Sequence[Prompt], model: Path | None = None) -> Stage:
    """Write a world stage with prompts and a model; without one, only a fake engine can load it."""
    stage = new_stage(open_store(store), "prepare", 1, {}, {})
    for code in sorted({prompt.language for prompt in prompts}):
        rows = [prompt for prompt in prompts if prompt.language == code]
        stage.write_records(f"prompts/{code}.parquet", rows, Prompt)
    if model is None:
        stage.write("model/config.json", b"{}")
    for path in sorted(model.iterdir()) if model else ():
        stage.upload(f"model/{path.name}", path)
    stage.finish({})
    return stage


def tell(monkeypatch, **engine: object) -> None:
    """Let this process be told a profile's settings of the engine."""
    monkeypatch.setenv(MACHINE, Machine(engine=EngineSettings(**engine)).text())


def use_engine(monkeypatch, engine: FakeEngine) -> list[Path]:
    """Let generate and translate start this engine; return the model folders it was started on."""
    started: list[Path] = []

    def start(_: Recipe, stage: str) -> FakeEngine:
        started.append(model_files(stage).folder)
        return engine

    monkeypatch.setattr("lidr.components.rollout.engine_session.open_engine", start)
    return started
