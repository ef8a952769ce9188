"""Our scores are the harness's own: same model, same items, same filter, same answers."""

from __future__ import annotations

import json
import re

import pytest

from lidr.components.evaluate.harness import Scored, run_tasks
from lidr.components.evaluate.index import task_manager
from lidr.components.evaluate.items.local_data import use_items
from lidr.components.evaluate.limits import TASKS
from lidr.components.shared.config.recipe import Recipe
from lidr.components.shared.engines.transformers_engine import TransformersEngine
from tests.fakes import make_recipe
from tests.unit.evaluate.shared_data import MGSM, needs_mgsm
from tests.unit.evaluate.tasks import LANGUAGES, item_lines
from tests.unit.shared.engines.cases import lively_model

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    """A tiny random model that only the tokenizer's own end token ends.

    Where others end a turn too, the harness leaves the ending token in the text.
    """
    folder = lively_model(tmp_path_factory.mktemp("model"), context=1024)
    path = folder / "generation_config.json"
    settings = json.loads(path.read_text())
    path.write_text(json.dumps(settings | {"eos_token_id": settings["eos_token_id"][0]}))
    return folder


def the_harness_own(model, recipe: Recipe, folder) -> dict[str, list[dict]]:
    """Run the same tasks with the harness's own transformers model; return its samples."""
    from lm_eval.evaluator import simple_evaluate
    from lm_eval.models.huggingface import HFLM

    manager = task_manager(recipe, [TASKS], folder)
    names = recipe.evaluation.tasks_in(recipe.languages.all)
    use_items(manager, names, recipe.evaluation, folder)
    results = simple_evaluate(
        model=HFLM(pretrained=str(model), dtype="float32", device="cpu", batch_size=4),
        tasks=list(names),
        task_manager=manager,
        limit=recipe.evaluation.limit or None,
        apply_chat_template=True,
        bootstrap_iters=0,
        random_seed=recipe.seed,
        gen_kwargs={"max_gen_toks": recipe.evaluation.max_tokens},
    )
    return results["samples"]


def ours(model, recipe: Recipe, folder) -> list[Scored]:
    engine = TransformersEngine(model, dtype="float32", max_length=0, batch_tokens=2048)
    try:
        return run_tasks(engine, recipe, [TASKS], folder)
    finally:
        engine.close()


def require_equal(model, recipe: Recipe, folder, filter_name: str) -> list[Scored]:
    """Require equal answers and scores, item for item; return them."""
    samples = the_harness_own(model, recipe, folder)
    scored = ours(model, recipe, folder)
    theirs = {
        (task, sample["doc_id"]): (sample["resps"][0][0], sample["exact_match"])
        for task, rows in samples.items()
        for sample in rows
        if sample["filter"] == filter_name
    }
    assert len(theirs) == len(scored)
    counted: dict[str, int] = {}
    for item in scored:
        number = counted[item.task] = counted.get(item.task, -1) + 1
        assert (item.completion.text, item.score) == theirs[item.task, number]
    return scored


def with_some_right(model, recipe: Recipe, folder, write) -> None:
    """Let the model be right where it says a digit, in two items of three, by a first run."""
    said = [re.findall(r"[0-9]+", item.completion.text) for item in ours(model, recipe, folder)]
    write([found[-1] if found and n % 3 else "7" for n, found in enumerate(said)])


@needs_mgsm
def test_mgsm_in_spanish_is_scored_as_by_the_harness(model, tmp_path):
    lines = (MGSM / "es.jsonl").read_text(encoding="utf-8").splitlines()[:48]
    rows = [json.loads(line) for line in lines]

    def write(answers: list[str]) -> None:
        changed = [row | {"response": each} for row, each in zip(rows, answers, strict=True)]
        (tmp_path / "es.jsonl").write_text("\n".join(map(json.dumps, changed)), encoding="utf-8")

    write([row["response"] for row in rows])
    recipe = make_recipe(
        evaluation={
            "tasks": ["mgsm_direct_{language}"],
            "languages": {"mgsm_direct_{language}": ["es"]},
            "data": {"juletxara/mgsm": str(tmp_path / "{language}.jsonl")},
            "max_tokens": 24,
        }
    )
    with_some_right(model, recipe, tmp_path, write)
    scored = require_equal(model, recipe, tmp_path, "flexible-extract")
    assert 0 < sum(item.score for item in scored) < len(scored) == 48


def test_the_tiny_world_is_scored_as_by_the_harness(model, tmp_path):
    questions = [f"Nina has {n} books. Nina finds {n % 3}." for n in range(16)]

    def write(answers: list[str]) -> None:
        for place, code in enumerate(LANGUAGES):
            mine = answers[16 * place : 16 * (place + 1)]
            rows = item_lines(list(zip(questions, mine, strict=True)))
            (tmp_path / f"{code}.jsonl").write_bytes(rows)

    write(["7"] * 48)
    recipe = make_recipe(evaluation={"tasks": ["tiny_world_{language}"], "max_tokens": 24})
    with_some_right(model, recipe, tmp_path, write)
    scored = require_equal(model, recipe, tmp_path, "last-number")
    assert 0 < sum(item.score for item in scored) < len(scored) == 48
