from __future__ import annotations

import json
import unicodedata

import pytest

from lidr.components.shared.inputs.prompt_files import (
    load_prompts,
)
from lidr.components.shared.inputs.translation_tasks import (
    is_about_translation,
    note_of_translation_tasks,
    translation_task_ids,
)
from tests.fakes import make_recipe


@pytest.mark.parametrize(
    ("text", "language"),
    [
        ('Translate the following line into Welsh: "Good evening"', "en"),
        ("Stranslate this sentence\nIk heb honger", "en"),
        ("Provide a translation of this phrase: buona notte", "en"),
        ("Give the Polish equivalent of the phrase.", "en"),
        ("Name the months of the year in Finnish.", "en"),
        ("What language is this text written in?", "en"),
        ("How do you say thank you in Turkish?", "en"),
        ("Rewrite the paragraph in German.", "en"),
        ("Traduce esta frase al francés.", "es"),
        ("Traduisez cette phrase en espagnol.", "fr"),
        ("Übersetze den Satz ins Englische.", "de"),
        ("Переведите это предложение на испанский.", "ru"),
        ("请把这句话翻译成英文。", "zh"),
        ("この文をフランス語に翻訳してください。", "ja"),
        ("이 문장을 영어로 번역하세요.", "ko"),
        ("ترجم هذه الجملة إلى الفرنسية.", "ar"),
        ("แปลประโยคนี้เป็นภาษาอังกฤษ", "th"),
        ('Translate into French: "We have to put the plan into action."', "en"),
        ("Translate the sentence “turn it into code” for me.", "en"),
        ("Translate the sentence 'turn it into code' into Dutch.", "en"),
        ("Translate this sentence to Dutch and put it into a chart.", "en"),
        ("Translate the phrase into programme notes.", "en"),
        ("Name the days of the week in Finnish. Then put the plan into action.", "en"),
        *(
            (unicodedata.normalize("NFD", text), language)
            for text, language in (
                ("Übersetze den Satz ins Englische.", "de"),
                ("이 문장을 영어로 번역하세요.", "ko"),
                ("Přelož tuto větu do angličtiny.", "cs"),
                ("Dịch câu này sang tiếng Anh.", "vi"),
            )
        ),
    ],
)
def test_prompts_about_translation_or_a_language_are_found(text, language):
    assert is_about_translation(text, language)


@pytest.mark.parametrize(
    ("text", "language"),
    [
        ("Give three tips for staying healthy.", "en"),
        ("Here is a cover letter to polish: I have a keen eye for detail.", "en"),
        ("Translate the sum into a mathematical equation.", "en"),
        ("Translate the user's statements into SQL.", "en"),
        ("Translate this English sentence into Python code: add two numbers", "en"),
        ("Translate these phrases into equations.", "en"),
        ("Describe the significance of the number 8 in Chinese culture", "en"),
        ("Explain how a language model is trained.", "en"),
        ("List five spices used in Chinese cuisine.", "en"),
        ("What is a transit visa?", "en"),
        ("Describe los hábitos de los gatos.", "es"),
        ("Nenne drei Flüsse in Europa.", "de"),
        ("Translate this into French", "yo"),
        ("", "en"),
    ],
)
def test_other_prompts_are_left_alone(text, language):
    assert not is_about_translation(text, language)


def recipe_of(folder, rows, **prompts):
    """Return a recipe over these English rows, and the same ids in Spanish and German."""
    files = {}
    for code in ("en", "es", "de"):
        own = rows if code == "en" else [row | {"text": "hola"} for row in rows]
        files[code] = str(folder / f"{code}.jsonl")
        (folder / f"{code}.jsonl").write_text("\n".join(map(json.dumps, own)))
    return make_recipe(model={"source": "m0"}, prompts={"files": files, **prompts})


ROWS = [
    {"prompt_id": "a", "text": "Translate this word into Welsh."},
    {"prompt_id": "b", "text": "Give three tips."},
    {"prompt_id": "c", "text": "Name the months in Finnish."},
]


def flags(recipe):
    found = load_prompts(recipe)
    return {code: [p.prompt_id for p in rows if p.translation_task] for code, rows in found.items()}


def test_what_is_found_in_the_dominant_language_holds_in_all_of_them(tmp_path):
    recipe = recipe_of(tmp_path, ROWS)
    assert list(flags(recipe).values()) == [["a", "c"]] * 3
    ids = translation_task_ids(recipe, load_prompts(recipe)["en"])
    assert ids == ["a", "c"]
    assert "2 prompts are about translation or a language" in note_of_translation_tasks(ids)


def test_the_field_overrides_what_is_found(tmp_path):
    rows = [row | {"translation_task": row["prompt_id"] == "b"} for row in ROWS]
    recipe = recipe_of(tmp_path, rows)
    assert flags(recipe)["en"] == flags(recipe)["es"] == ["b"]
    assert translation_task_ids(recipe, load_prompts(recipe)["en"]) == []


def test_where_a_list_is_given_nothing_is_looked_for(tmp_path):
    (tmp_path / "list.jsonl").write_text(json.dumps({"prompt_id": "b"}))
    recipe = recipe_of(tmp_path, ROWS, translation_tasks=str(tmp_path / "list.jsonl"))
    assert flags(recipe)["de"] == ["b"]
    assert translation_task_ids(recipe, load_prompts(recipe)["en"]) == []
