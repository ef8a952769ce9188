"""The engine of a rollout: started for the first request, and restarted after it died."""

from __future__ import annotations

import contextlib
from collections import Counter

from lidr.components.shared.config.engine_choice import choose_engine
from lidr.components.shared.config.generation import EngineName
from lidr.components.shared.config.recipe import Recipe
from lidr.components.shared.core.errors import LidrError
from lidr.components.shared.core.events import emit
from lidr.components.shared.engines import Engine, open_engine


class EngineSession:
    """Keeps one engine for a whole rollout of one or two steps; starts none without a request.

    Args:
        recipe: names the engine.
        model: URI of the stage that holds the model.

    Attributes:
        starts: how often an engine was started.
        tokens: output tokens so far.
        seconds: time spent on generation.
        requests: places that are done, those that needed no request included.
        failures: records with a failure, by reason.
    """

    def __init__(self, recipe: Recipe, model: str) -> None:
        self._recipe = recipe
        self._model = model
        self._engine: Engine | None = None
        self.starts = 0
        self.tokens = 0
        self.seconds = 0.0
        self.requests = 0
        self.failures: Counter[str] = Counter()

    def __enter__(self) -> EngineSession:
        return self

    def __exit__(self, *_: object) -> None:
        if self._engine is not None:
            self._engine.close()

    @property
    def engine(self) -> Engine:
        """The engine, started now if it is not running."""
        if self._engine is None:
            if self._recipe.generation.engine == "auto":  # a named engine needs no explanation
                name, reason = choose_engine(self._recipe)
                emit("note", message=f"engine: {name}, because {reason}")
            self._engine = open_engine(self._recipe, self._model)
            self.starts += 1
        return self._engine

    @property
    def running(self) -> bool:
        """Whether the engine is running."""
        return self._engine is not None

    @property
    def works_in_batches(self) -> bool:
        """Whether the engine works in batches, so followers wait until their source is complete."""
        return choose_engine(self._recipe)[0] is EngineName.TRANSFORMERS

    def discard(self) -> None:
        """Close an engine that died, ignoring its errors; the next request starts another."""
        engine, self._engine = self._engine, None
        if engine is not None:
            with contextlib.suppress(LidrError, RuntimeError, OSError):
                engine.close()

    def stats(self) -> dict[str, object]:
        """Return the engine's name, why it was chosen, its starts, tokens, speed and figures."""
        name, reason = choose_engine(self._recipe)
        return {
            "engine": name.value,
            "engine_reason": reason,
            "engine_starts": self.starts,
            "tokens": self.tokens,
            "seconds": round(self.seconds, 3),
            "tokens_per_second": round(self.tokens / max(self.seconds, 1e-9), 1),
            **(self._engine.stats() if self._engine is not None else {}),
        }
