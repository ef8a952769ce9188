from __future__ import annotations

import pytest
import yaml

from lidr.components.shared.config.recipe import Recipe, load_recipe
from lidr.components.shared.core.errors import BadInput

CARE = {"name": "care", "questions": "q/{language}.jsonl"}
ALPACA = {
    "name": "x_alpacaeval",
    "questions": "s3://bucket/{language}.json",
    "references": "ref/{language}.jsonl",
}
BASE = {
    "name": "mine",
    "languages": {"others": ["es", "de"]},
    "model": {"source": "toy"},
    "evaluation": {"tasks": ["t_{language}"]},
}
ENDPOINT = {"model": "j"}


def load(folder, *tasks: dict[str, object], **settings: object) -> Recipe:
    section = {"endpoint": ENDPOINT, "tasks": list(tasks), **settings}
    (folder / "recipe.yaml").write_text(yaml.safe_dump({**BASE, "judge": section}))
    return load_recipe(folder / "recipe.yaml")


def test_paths_start_at_the_recipes_folder(tmp_path):
    recipe = load(tmp_path, CARE, ALPACA, prompts="mine")
    care, alpaca = recipe.judge.tasks
    assert care.questions == str(tmp_path / "q/{language}.jsonl")
    assert alpaca.questions == "s3://bucket/{language}.json"
    assert alpaca.references == str(tmp_path / "ref/{language}.jsonl")
    assert recipe.judge.prompts == str(tmp_path / "mine")
    assert Recipe.model_validate_json(recipe.model_dump_json()) == recipe


def test_a_folder_of_judge_prompts_is_one_for_all_languages(tmp_path):
    with pytest.raises(BadInput, match=r"judge\.prompts: 'mine/\{language\}' holds \{language\}"):
        load(tmp_path, CARE, prompts="mine/{language}")


def test_a_limit_of_answers_that_another_task_asks_for_is_refused(tmp_path):
    with pytest.raises(BadInput, match="limit of head_to_head belongs to x_alpacaeval"):
        load(tmp_path, ALPACA, {"name": "head_to_head", "limit": 100})
    assert load(tmp_path, ALPACA, {"name": "head_to_head", "limit": 0})


def test_head_to_head_is_about_the_answers_of_x_alpacaeval(tmp_path):
    recipe = load(tmp_path, ALPACA | {"languages": ["de"]}, {"name": "head_to_head"})
    alpaca, duel = recipe.judge.tasks
    assert recipe.judge.answered_by(duel) is alpaca
    assert recipe.judge.languages_of(duel, recipe.languages.all) == ("de",)
    assert recipe.judge.languages_of(alpaca, recipe.languages.all) == ("de",)


@pytest.mark.parametrize(
    ("tasks", "words"),
    [
        ([], "judge.tasks is empty"),
        ([CARE, CARE], "each name may appear once, not twice: care"),
        (
            [CARE, ALPACA, CARE, ALPACA],
            "each name may appear once, not twice: care, x_alpacaeval",
        ),
        (
            [{**CARE, "languages": ["es", "de", "es"]}],
            "languages must differ from one another: es, de, es",
        ),
        ([{"name": "care"}], "care needs questions"),
        ([{**CARE, "questions": "q.jsonl"}], "must hold {language}"),
        ([{**CARE, "references": "r.{language}"}], "care takes no references"),
        ([{**CARE, "name": "x_alpacaeval"}], "x_alpacaeval has no references"),
        ([{**CARE, "name": "mtbench"}], "input should be 'x_alpacaeval'"),
        ([{**CARE, "languages": ["fr"]}], "care: the recipe has no fr"),
        ([{"name": "head_to_head"}], "head_to_head needs questions"),
        (
            [{**ALPACA, "languages": ["de"]}, {"name": "head_to_head", "languages": ["es"]}],
            "head_to_head: its questions' task has no es",
        ),
    ],
)
def test_what_does_not_fit_together_is_refused(tmp_path, tasks, words):
    with pytest.raises(BadInput) as caught:
        load(tmp_path, *tasks)
    assert words in str(caught.value)
    assert caught.value.line


def test_a_key_has_no_place_in_the_recipe(tmp_path):
    with pytest.raises(BadInput, match=r"unknown key 'judge\.endpoint\.api_key'"):
        load(tmp_path, CARE, endpoint=ENDPOINT | {"api_key": "secret"})
