"""Real prompts and answers in five languages, through generate, translate and pair.

The data is not part of the project: LIDR_SHARED_DATA names its folder, else `../shared/data` beside
the checkout is looked for; without it these tests are skipped.
"""

from __future__ import annotations

import json
import os
import subprocess
from collections import Counter
from importlib.util import find_spec
from pathlib import Path

import pytest

from lidr.components.generate.run import generate
from lidr.components.pair.run import pair
from lidr.components.prepare.run import prepare
from lidr.components.rollout.translations import directions
from lidr.components.shared.config.recipe import Recipe
from lidr.components.shared.core.languages import LanguageIdentifier
from lidr.components.shared.engines import ChatRequest
from lidr.components.shared.models.chat import ChatRenderer
from lidr.components.shared.records.chat import TRANSLATION_STOP, answer_messages
from lidr.components.shared.records.schema import PreferencePair, Prompt, Response, Translation
from lidr.components.shared.store.open import open_store
from lidr.components.shared.store.stage import Stage, new_stage, open_stage
from lidr.components.translate.run import translate
from tests.unit.shared.engines.cases import lively_model
from tests.warm import VLLM, python

ROOT = Path(__file__).parents[2]
DATA = Path(os.environ.get("LIDR_SHARED_DATA", ROOT.parent / "shared" / "data"))
OTHERS = ("es", "ru", "de", "fr")
needs_data = pytest.mark.skipif(
    not (DATA / "alpagasus").is_dir(), reason=f"no real text at {DATA} (set LIDR_SHARED_DATA)"
)
pytestmark = [pytest.mark.slow, needs_data]


def make_recipe(
    model: Path,
    engine: str = "transformers",
    ids: int = 1000,
    others: tuple[str, ...] = OTHERS,
    filters: str = "all",
) -> str:
    """Return a recipe over the Alpagasus prompts as JSON."""
    files = {code: str(DATA / "alpagasus" / f"{code}.jsonl") for code in ("en", *others)}
    decoding = {"max_tokens": 16, "repetition_penalty": 1.1}
    recipe = {
        "name": "real-text",
        "languages": {"others": list(others)},
        "model": {"source": str(model)},
        "prompts": {
            "files": files,
            "fields": {"prompt_id": "id", "text": "instruction"},
            "per_iteration": ids,
        },
        "generation": {**decoding, "engine": engine, "chunk_size": 200},
        "translation": {**decoding, "round_trip_sample": 20},
        "pairing": {"filters": filters},
        "evaluation": {"tasks": ["belebele_{language}"]},
    }
    return Recipe.model_validate(recipe).model_dump_json()


def chat_model(folder: Path) -> Path:
    """Write a tiny random chat model with a context of 4,096 tokens that likes to close its tag."""
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer

    lively_model(folder, context=4096)
    tokenizer = AutoTokenizer.from_pretrained(folder)
    tokenizer.add_tokens([TRANSLATION_STOP])
    tokenizer.save_pretrained(folder)
    model = AutoModelForCausalLM.from_pretrained(folder)
    with torch.random.fork_rng(devices=[]), torch.no_grad():
        torch.manual_seed(0)
        model.resize_token_embeddings(len(tokenizer), mean_resizing=False)
        model.lm_head.weight[-1] = torch.randn(model.config.hidden_size)
    model.save_pretrained(folder)
    return folder


def run_steps(recipe: str, store: str) -> dict[str, str]:
    """Run the steps up to pair and return the URIs of their stages."""
    world = prepare(recipe=recipe, store=store)
    common = {"recipe": recipe, "store": store, "inputs": world, "model": world, "iteration": 1}
    responses = generate(**common)
    translations = translate(responses=responses, **common)
    pairs = pair(responses=responses, rewards=translations, **common)
    return {
        "inputs": world,
        "responses": responses,
        "translations": translations,
        "pairs": pairs,
    }


def lines(code: str) -> dict[str, str]:
    """Return a prompt file as id -> instruction, read without our own code."""
    rows = (DATA / "alpagasus" / f"{code}.jsonl").read_text("utf-8").split("\n")
    return {row["id"]: row["instruction"] for row in map(json.loads, filter(None, rows))}


def check(recipe: str, uris: dict[str, str], ids: int) -> dict[str, object]:
    """Check that every id and language arrived and that all counts add up; return the counts."""
    settings = Recipe.model_validate_json(recipe)
    stages = {name: open_stage(uri) for name, uri in uris.items()}
    _check_prompts(settings, stages["inputs"])
    wanted = list(lines("en"))[:ids]
    for code in settings.languages.all:
        names = stages["responses"].files(prefix=f"responses/{code}/")
        rows = stages["responses"].read_records(names, Response)
        assert [row.prompt_id for row in rows] == wanted
        assert {row.language for row in rows} == {code}
        assert all(row.failure == "empty" for row in rows if not row.text.strip())
    for source, target in directions(settings):
        names = stages["translations"].files(prefix=f"translations/{source}-{target}/")
        found = stages["translations"].read_records(names, Translation)
        assert [row.prompt_id for row in found] == wanted
        assert all((row.text is None) == (row.failure is not None) for row in found)
    counts = {name: stage.counts() for name, stage in stages.items()}
    _check_counts(settings, stages["pairs"], ids)
    return counts


def _check_prompts(settings: Recipe, world: Stage) -> None:
    from transformers import AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(settings.model.source)
    chat = ChatRenderer(tokenizer)
    for code in settings.languages.all:
        expected = lines(code)
        prompts = world.read_records([f"prompts/{code}.parquet"], Prompt)
        assert {prompt.prompt_id: prompt.text for prompt in prompts} == expected
        for prompt in prompts:
            tokens = chat.render(ChatRequest("", answer_messages(prompt.text)))
            shown = f"<|user|>{expected[prompt.prompt_id]}<|end|><|assistant|>"
            assert tokenizer.decode(tokens, clean_up_tokenization_spaces=False) == shown


def _check_counts(settings: Recipe, pairs: Stage, ids: int) -> None:
    counts = pairs.counts()
    kept = pairs.read_records(["pairs.parquet"], PreferencePair)
    dropped = pairs.read_table(["dropped.parquet"]).to_pylist()
    others = len(settings.languages.others)
    assert len(kept) == counts["pairs"]
    assert len(kept) + len(dropped) == counts["candidates"] == 2 * ids * others
    keys = Counter((p.prompt_id, p.language, p.other_language, p.kind) for p in kept)
    keys.update((d["prompt_id"], d["language"], d["other_language"], d["kind"]) for d in dropped)
    assert len(keys) == counts["candidates"]
    for counted in counts["languages"].values():
        assert counted["kept"] + sum(counted["dropped"].values()) == counted["candidates"]
    texts = {code: lines(code) for code in settings.languages.all}
    assert all(p.prompt[-1]["content"] == texts[p.language][p.prompt_id] for p in kept)


def test_every_prompt_arrives_with_transformers(tmp_path):
    recipe = make_recipe(chat_model(tmp_path / "model"), ids=150, filters="paper")
    counts = check(recipe, run_steps(recipe, str(tmp_path / "store")), 150)
    assert counts["responses"]["engine"] == "transformers"
    assert 0 < counts["pairs"]["pairs"] < counts["pairs"]["candidates"]


@pytest.mark.skipif(find_spec("vllm") is None, reason="vllm is not installed (lidr[vllm])")
def test_every_prompt_arrives_with_vllm(tmp_path):
    recipe = make_recipe(chat_model(tmp_path / "model"), "vllm", ids=60, filters="paper")
    out = tmp_path / "uris.json"
    code = (
        "import json, pathlib, sys\n"
        "from tests.e2e.test_real_text import run_steps\n"
        "if __name__ == '__main__':\n"
        "    out = pathlib.Path(sys.argv[3])\n"
        "    out.write_text(json.dumps(run_steps(sys.argv[1], sys.argv[2])))\n"
    )
    command = [python(VLLM), "-c", code, recipe, str(tmp_path / "store"), str(out)]
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "VLLM_CPU_KVCACHE_SPACE": "1"}
    run = subprocess.run(
        command, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=300
    )
    assert run.returncode == 0, run.stderr[-3000:]
    counts = check(recipe, json.loads(out.read_text()), 60)
    assert counts["responses"]["engine"] == "vllm"
    assert counts["pairs"]["pairs"] > 0


TRANSLATED = DATA / "llama3_8b_m0" / "alpagasus_en_responses_and_en2fr.jsonl"


def llama_stages(recipe: str, store: str) -> tuple[str, str, str]:
    """Write Llama-3-8B's English answers and their French translations as finished stages.

    It has no French answers of its own: the English ones stand in for them, off-target as a weak
    model's often are.
    """
    rows = [json.loads(line) for line in TRANSLATED.read_text("utf-8").splitlines()]
    target = open_store(store)
    world = new_stage(target, "prepare", 1, {}, {})
    for code in ("en", "fr"):
        texts = lines(code)
        prompts = [Prompt(row["id"], code, texts[row["id"]]) for row in rows]
        world.write_records(f"prompts/{code}.parquet", prompts, Prompt)
    responses = new_stage(target, "generate", 1, {}, {})
    for code in ("en", "fr"):
        answers = [Response(row["id"], code, row["response"], "stop", 0, 0, "en") for row in rows]
        responses.write_records(f"responses/{code}/00000.parquet", answers, Response)
    translations = new_stage(target, "translate", 1, {}, {})
    translations.write_records(
        "translations/en-fr/00000.parquet", [_translation(row) for row in rows], Translation
    )
    return world.finish({}), responses.finish({}), translations.finish({})


def _translation(row: dict[str, str]) -> Translation:
    text = row["en2fr_reponse"]
    failed = text == "Translation Error"  # the authors' sentinel for an answer without its tags
    return Translation(
        row["id"], "en", "fr", None if failed else text, "stop", 0, "untagged" if failed else None
    )


def pair_llama(folder: Path, filters: str) -> Stage:
    """Pair Llama-3-8B's answers and return the pair stage."""
    recipe = make_recipe(folder / "no-model", others=("fr",), filters=filters)
    world, responses, translations = llama_stages(recipe, str(folder))
    uri = pair(
        recipe=recipe,
        store=str(folder),
        inputs=world,
        responses=responses,
        rewards=translations,
        model=world,
        iteration=1,
    )
    return open_stage(uri)


def llama_rows() -> dict[str, dict[str, str]]:
    rows = TRANSLATED.read_text("utf-8").split("\n")
    return {row["id"]: row for row in map(json.loads, filter(None, rows))}


def share(found: list[str], code: str) -> float:
    return found.count(code) / len(found)


def test_real_llama_answers_pair_plausibly(tmp_path):
    rows = llama_rows()
    untranslated = {key for key, row in rows.items() if row["en2fr_reponse"] == "Translation Error"}
    stage = pair_llama(tmp_path, "all")
    counts, pairs = stage.counts(), stage.read_records(["pairs.parquet"], PreferencePair)
    assert counts["languages"]["en"]["dropped"] == {"missing_partner": len(rows)}
    french = counts["languages"]["fr"]
    assert french["candidates"] == len(rows) == 1000
    assert french["dropped"].pop("translation_failed") == len(untranslated)
    assert set(french["dropped"]) <= {"off_target", "length_ratio", "repetition"}
    assert sum(french["dropped"].values()) <= 5, "good French was dropped"
    assert counts["pairs"] == french["kept"] > 900
    assert counts["identical_share"] == 0

    dropped = stage.read_table(["dropped.parquet"]).to_pylist()
    failed = {row["prompt_id"] for row in dropped if row["reason"] == "translation_failed"}
    assert failed == untranslated
    prompts = lines("fr")
    for kept in pairs:
        row = rows[kept.prompt_id]
        assert kept.prompt[-1]["content"] == prompts[kept.prompt_id]
        assert kept.chosen == [{"role": "assistant", "content": row["en2fr_reponse"]}]
        assert kept.rejected == [{"role": "assistant", "content": row["response"]}]


def test_real_llama_answers_all_pair_as_in_the_paper(tmp_path):
    counts = pair_llama(tmp_path, "paper").counts()
    failed = sum(row["en2fr_reponse"] == "Translation Error" for row in llama_rows().values())
    assert counts["languages"]["fr"]["dropped"] == {"translation_failed": failed}
    assert counts["pairs"] == 1000 - failed


def test_real_llama_translations_keep_their_numbers(tmp_path):
    places = pair_llama(tmp_path, "paper").counts()["reward"]["places"]
    kept = places["en-fr"]["numbers"]
    assert 500 < kept["n"] < 650
    assert 0.92 < kept["value"] < 0.96, "24/7 is 24h/24 in French: 1 is not to be expected"
    assert "numbers" not in places["fr-en"]


@pytest.mark.parametrize("others", [("fr",), OTHERS])
def test_real_llama_answers_are_in_the_languages_they_are_in(others):
    rows = llama_rows().values()
    identifier = LanguageIdentifier(("en", *others))
    assert share(identifier.identify([row["response"] for row in rows]), "en") > 0.998
    french = [row["en2fr_reponse"] for row in rows if row["en2fr_reponse"] != "Translation Error"]
    assert share(identifier.identify(french), "fr") > 0.995


@pytest.mark.parametrize("model", ["gpt-4o-mini", "gpt-4-turbo-2024-04-09"])
def test_real_french_answers_with_code_and_lists_are_french(model):
    text = (DATA / "x_alpacaeval" / f"{model}.fr.jsonl").read_text("utf-8")
    answers = [json.loads(line)["response"] for line in filter(None, text.split("\n"))]
    found = LanguageIdentifier(("en", *OTHERS)).identify(answers)
    assert 0.96 < share(found, "fr") < 0.99, "some answers are English, as their prompts ask"
    assert set(found) <= {"fr", "en", "es", "de", "und"}
    assert share(found, "en") < 0.02


WRITTEN = ("ar", "de", "en", "es", "fr", "ja", "ru", "zh")


@pytest.mark.parametrize(
    ("file", "field"),
    [(f"alpagasus/{code}.jsonl", "instruction") for code in WRITTEN]
    + [(f"mgsm/{code}.jsonl", "query") for code in WRITTEN if code != "ar"],
)
def test_sentences_are_told_apart_in_every_language(file, field):
    rows = [json.loads(row) for row in (DATA / file).read_text("utf-8").split("\n") if row]
    found = LanguageIdentifier(WRITTEN).identify([row[field] for row in rows])
    right = sum(code == Path(file).stem for code in found)
    assert right >= 0.99 * len(rows)
