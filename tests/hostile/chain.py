"""One iteration over hostile text: the payloads are its prompts, its ids and its model's answers.

Every step is the real one. Only the engine is made up: it answers with the payload it was asked,
and translates by copying.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from unittest.mock import patch

from lidr.components.evaluate.run import evaluate
from lidr.components.gate.run import gate
from lidr.components.generate.run import generate
from lidr.components.pair.run import pair
from lidr.components.report.run import report
from lidr.components.shared.config.prompts import Prompts
from lidr.components.shared.core.text import valid_unicode
from lidr.components.shared.engines import ChatRequest, Completion
from lidr.components.shared.inputs.prompt_files import load_prompt_file
from lidr.components.shared.models.sources import model_files
from lidr.components.shared.records.chat import TRANSLATION_STOP
from lidr.components.shared.records.schema import Prompt
from lidr.components.shared.store.open import open_store
from lidr.components.shared.store.stage import Stage, new_stage, open_stage
from lidr.components.state.run import write_state
from lidr.components.train.run import train
from lidr.components.translate.run import translate
from tests.fakes import FakeEngine, make_recipe
from tests.models import tiny_model
from tests.payloads import PAYLOADS
from tests.unit.train.stages import launch

RUN = "hostile"
PREFIX = "Answer this: "


def prompt_id(name: str, text: str) -> str:
    """Return a prompt's id, which is hostile too."""
    return valid_unicode(f"{name}:{text[:80]}")


@dataclass
class HostileRun:
    """A run's texts, and its stages by step.

    Attributes:
        folder: of its files.
        texts: the payloads, by name.
        codes: languages, the dominant one first.
        stages: URIs.
    """

    folder: Path
    texts: dict[str, str] = field(default_factory=lambda: PAYLOADS)
    codes: tuple[str, ...] = ("en", "es", "de")
    stages: dict[str, str] = field(default_factory=dict)

    @property
    def expected(self) -> dict[tuple[str, str], str]:
        """What stands under each id and language from the first step to the last."""
        return {
            (prompt_id(name, text), code): valid_unicode(f"{text} {code}")
            for name, text in self.texts.items()
            for code in self.codes
        }

    @property
    def store(self) -> str:
        return str(self.folder / "store")

    @property
    def recipe(self) -> Any:
        return make_recipe(
            name="hostile",
            languages={"dominant": self.codes[0], "others": self.codes[1:]},
            prompts={"per_iteration": 10_000},
            generation={"engine": "transformers", "chunk_size": 40},
            translation={"round_trip_sample": 0},
            training={
                "batch_size": 256,
                "max_length": 64,
                "prompt_overflow": "drop",
                "precision": "float32",
            },
        )

    @property
    def page(self) -> Path:
        return Path(self.store, "runs", RUN, "report.html")

    def stage(self, step: str) -> Stage:
        return open_stage(self.stages[step])

    def records(self, step: str, prefix: str, kind: type) -> list[Any]:
        stage = self.stage(step)
        return stage.read_records(stage.files(prefix=prefix), kind)


def carry_out(run: HostileRun, *, training: bool = True) -> HostileRun:
    """Carry out the iteration; without training M_1 is M_0."""
    run.stages["prepare"] = _world(run)
    common = {"recipe": run.recipe.model_dump_json(), "store": run.store}
    model = {**common, "inputs": run.stages["prepare"], "model": run.stages["prepare"]}
    with _engine():
        run.stages["before"] = evaluate(**model, iteration=0)
        run.stages["generate"] = generate(**model, iteration=1)
        given = {"responses": run.stages["generate"]}
        run.stages["translate"] = translate(**model, iteration=1, **given)
        given["rewards"] = run.stages["translate"]
        run.stages["pair"] = pair(**model, iteration=1, **given)
        run.stages["train"] = run.stages["prepare"]
        if training:
            run.stages["train"] = train(
                **model, iteration=1, pairs=run.stages["pair"], launch=launch()
            )
        trained = {**model, "model": run.stages["train"]}
        run.stages["after"] = evaluate(**trained, iteration=1)
    judged = {"before": run.stages["before"], "after": run.stages["after"]}
    decision = gate(**common, **judged, iteration=1, max_iterations=1)
    run.stages["gate"] = decision
    _write_states(run, common)
    report(**common, run=RUN)
    return run


def answer(request: ChatRequest) -> Completion:
    """Answer with what the prompt says; translate by copying."""
    content = request.messages[0]["content"]
    if request.primer:
        content = content.partition("\n<sentence>")[2].removesuffix("</sentence>")
        return Completion(request.key, content + TRANSLATION_STOP, "stop", 9, 5)
    return Completion(request.key, content.removeprefix(PREFIX), "stop", 9, 5)


@contextmanager
def _engine() -> Iterator[None]:
    def start(_: object, stage: str, *__: object) -> FakeEngine:
        assert model_files(stage).folder.is_dir()
        return FakeEngine(answer)

    with (
        patch("lidr.components.rollout.engine_session.open_engine", start),
        patch("lidr.components.evaluate.run.open_engine", start),
    ):
        yield


def _world(run: HostileRun) -> str:
    """Read the payloads out of prompt files, as a recipe names them, into a world stage."""
    stage = new_stage(open_store(run.store), "prepare", 1, {}, {})
    for code in run.codes:
        file = run.folder / f"{code}.jsonl"
        rows = [
            {"prompt_id": prompt_id(name, text), "text": f"{PREFIX}{text} {code}"}
            for name, text in run.texts.items()
        ]
        file.write_text("".join(json.dumps(row) + "\n" for row in rows))
        prompts = load_prompt_file(str(file), code, Prompts())
        stage.write_records(f"prompts/{code}.parquet", prompts, Prompt)
        items = [
            {"item_id": name, "question": valid_unicode(f"{PREFIX}{text} {code}"), "answer": "7"}
            for name, text in run.texts.items()
        ]
        lines = "".join(json.dumps(item) + "\n" for item in items)
        stage.write(f"evaluation/{code}.jsonl", lines.encode())
    for path in sorted(tiny_model(run.folder / "model").iterdir()):
        stage.upload(f"model/{path.name}", path)
    return stage.finish({"prompts": len(run.texts)})


def _write_states(run: HostileRun, common: dict[str, str]) -> None:
    start = dict.fromkeys(("responses", "translations", "pairs", "judgements", "decision"), "")
    own = {"inputs": run.stages["prepare"], "run": RUN}
    for iteration in (0, 1):
        write_state(
            **common,
            **own,
            **start,
            iteration=iteration,
            model=run.stages["train" if iteration else "prepare"],
            evaluation=run.stages["after" if iteration else "before"],
            version=f"hostile/{iteration + 1}",
        )
        start |= {
            "responses": run.stages["generate"],
            "translations": run.stages["translate"],
            "pairs": run.stages["pair"],
            "decision": run.stages["gate"],
        }
