"""Evaluate stages with answers, questions on disk, and recipes with a judge, for tests."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping, Sequence
from pathlib import Path

from lidr.components.judge.run import judge
from lidr.components.shared.config.machine import MACHINE, JudgeServer, Machine
from lidr.components.shared.config.recipe import Recipe
from lidr.components.shared.records.judged import Judgement
from lidr.components.shared.records.parquet import to_parquet
from lidr.components.shared.records.schema import Answer, EvalItem
from lidr.components.shared.store.stage import open_stage
from tests.fakes import finished_stage, make_recipe

Texts = Mapping[str, Sequence[str]]
"""Answers by item id, one a turn."""


def write_rows(path: Path, rows: Sequence[Mapping[str, object]]) -> str:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return str(path)


def evaluation(store: Path, answers: Sequence[Answer], of: str = "m") -> str:
    """Return the URI of an evaluate stage with these answers."""
    files = {"answers.parquet": to_parquet(answers, Answer)}
    return finished_stage(str(store), "evaluate", files, of=of).uri


def prompt_of(item: str, turn: int = 0) -> str:
    """Return the question that `answers_to` answers."""
    return f"{item}, and?" if turn else f"{item}?"


def answers_to(task: str, language: str, texts: Texts, finish_reason: str = "stop") -> list[Answer]:
    return [
        Answer(task, language, item, turn, prompt_of(item, turn), text, finish_reason, 5, language)
        for item, turns in texts.items()
        for turn, text in enumerate(turns)
    ]


def recipe(url: str, tasks: Sequence[Mapping[str, object]], **settings: object) -> Recipe:
    """Return a recipe with a judge, and let this process be told that it is at `url`."""
    server = {"url": url, "retries": 1, "request_seconds": 10, **settings.pop("server", {})}
    os.environ[MACHINE] = Machine(judge=JudgeServer(**server)).text()
    endpoint = {"model": "scripted", **settings.pop("endpoint", {})}
    return make_recipe(
        languages={"dominant": "en", "others": ["fr"]},
        judge={"endpoint": endpoint, "tasks": tasks, **settings},
    )


def run(settings: Recipe, answered: str, before: str = "") -> str:
    return judge(
        recipe=settings.model_dump_json(),
        store=answered.rpartition("/stages/")[0],
        evaluation=answered,
        before=before,
        iteration=0,
    )


def counts_of(uri: str, task: str, language: str) -> dict:
    return open_stage(uri).counts()["tasks"][task]["languages"][language]


def judgements_of(uri: str) -> list[Judgement]:
    return open_stage(uri).read_records(["judgements.parquet"], Judgement)


def items_of(uri: str) -> list[EvalItem]:
    return open_stage(uri).read_records(["items.parquet"], EvalItem)
