"""Implicit rewards against transformers, one response at a time, and what the step leaves."""

from __future__ import annotations

import gc
import shutil
import weakref
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from lidr.components.score import run as step
from lidr.components.score.run import SampleLogp, score
from lidr.components.score.stage import scoring_models
from lidr.components.score.texts import LanguageStats, LanguageTexts, ResponseEncoder, ScoredPair
from lidr.components.shared.config.recipe import Recipe
from lidr.components.shared.core.errors import BadInput
from lidr.components.shared.forward import loading
from lidr.components.shared.forward.tokens import TokenPair
from lidr.components.shared.models.sources import ModelFiles
from lidr.components.shared.records.chat import scoring_messages
from lidr.components.shared.records.schema import Failure, Prompt, Response, Score
from lidr.components.shared.records.scores import SCORES_FILE
from lidr.components.shared.store.open import open_store
from lidr.components.shared.store.stage import Stage, new_stage, open_stage
from tests.fakes import finished_stage, world_stage
from tests.models import tiny_model
from tests.unit.pair.scored import scored_recipe

BETA = 0.1
QUESTION = "Nina has 4 books. Nina finds 2. How many?"
TEXTS = {
    "en": ["At first 4 books. Finally 6 books.", "Finally 3 books."],
    "es": ["Nina tiene 6.", "Luego Nina pierde 3. Nina tiene 3.", "Nina encuentra 2 libros."],
    "de": ["Nina hat 6 Bücher.", "Nina hat 4 Bücher. Nina findet 2."],
}


@pytest.fixture(scope="module")
def root(tmp_path_factory) -> Path:
    """A store with M_0 and its answers, and the models `before` and `tuned` beside it."""
    root = tmp_path_factory.mktemp("score")
    for seed, name in enumerate(("before", "tuned")):
        tiny_model(root / name, seed)
    return root


def recipe(root: Path, **icr: object) -> Recipe:
    named = {"policy": str(root / "tuned"), "reference": str(root / "before"), "beta": BETA}
    return scored_recipe(pairing={"icr": named | icr})


def answered(root: Path, changed: dict[tuple[str, int], Response] | None = None) -> dict[str, str]:
    """Write prompts and answers; return what score is given of them."""
    store = str(root / "store")
    prompts = [
        Prompt("p0", code, QUESTION if code == "en" else f"? {code}") for code in ("en", "es", "de")
    ]
    world = world_stage(store, prompts, root / "before")
    known = {"inputs": world.digest, "changed": str(changed)}
    responses = new_stage(open_store(store), "generate", 1, known, {})
    for code, texts in TEXTS.items():
        rows = [
            Response("p0", code, text, "stop", 7, 5, code, None, number)
            for number, text in enumerate(texts)
        ]
        rows = [(changed or {}).get((code, row.sample), row) for row in rows]
        responses.write_records(f"responses/{code}/00000.parquet", rows, Response)
    return {
        "store": store,
        "inputs": world.uri,
        "responses": responses.finish({}),
        "model": world.uri,
    }


def run(settings: Recipe, given: dict[str, str]) -> str:
    return score(recipe=settings.model_dump_json(), iteration=1, **given)


def test_one_model_is_in_memory_at_a_time(root, monkeypatch):
    loaded: list[weakref.ref] = []
    load = loading.load_model

    def load_model(files: ModelFiles) -> Any:
        assert not any(each() for each in loaded), "the one before is still there"
        model = load(files)
        loaded.append(weakref.ref(model))
        return model

    monkeypatch.setattr(loading, "load_model", load_model)
    gc.disable()  # as good as off where millions of older objects live
    try:
        run(recipe(root, beta=0.3), answered(root))
    finally:
        gc.enable()
    assert len(loaded) == 2


def test_texts_of_one_language_are_in_memory_at_a_time(root, monkeypatch):
    read, kept = step.read_answers, []

    class Held(list):
        """A list that can be referred to weakly."""

    def read_answers(responses: str, language: str) -> Held:
        gc.collect()
        assert not any(each() for each in kept), "those of the language before are still there"
        answers = Held(read(responses, language))
        kept.append(weakref.ref(answers))
        return answers

    encode = ResponseEncoder.encode

    def encode_and_watch(*given):
        texts = encode(*given)
        texts.pairs = Held(texts.pairs)
        kept.append(weakref.ref(texts.pairs))
        return texts

    monkeypatch.setattr(step, "read_answers", read_answers)
    monkeypatch.setattr(ResponseEncoder, "encode", encode_and_watch)
    run(recipe(root, beta=0.7), answered(root))
    assert len(kept) > 2 * len(TEXTS)


def test_of_a_language_the_first_pairs_and_the_longest_are_kept():
    pairs = [
        ScoredPair(TokenPair(str(n), "p", "es", [1], [1] * size, [1]), (("p", n),))
        for n, size in enumerate((2, 3, 1, 9, 4))
    ]
    stats = LanguageStats.of(LanguageTexts(pairs, {("p", 9): "empty"}, cut=2))
    assert (stats.pairs, stats.failures, stats.cut) == (5, {("p", 9): "empty"}, 2)
    assert [pair.key for pair in stats.trial] == ["0", "1", "3"]
    assert LanguageStats.of(LanguageTexts(pairs[:1])).trial == (pairs[0].tokens,)
    assert LanguageStats.of(LanguageTexts()).trial == ()


def scores_of(uri: str) -> dict[tuple[str, int], Score]:
    found: list[Score] = open_stage(uri).read_records([SCORES_FILE], Score)
    return {(each.language, each.sample): each for each in found}


class Oracle:
    """A model's log-probability of an answer by transformers alone, with nothing beside it."""

    def __init__(self, folder: Path) -> None:
        from transformers import AutoModelForCausalLM, AutoTokenizer

        self.tokenizer = AutoTokenizer.from_pretrained(folder)
        self.model = AutoModelForCausalLM.from_pretrained(folder).eval()

    def logp(self, language: str, text: str) -> float:
        import torch

        asked = QUESTION if language == "en" else _requested(language)
        chat = [{"role": "user", "content": asked}, {"role": "assistant", "content": text}]
        prompt = self.tokenizer.apply_chat_template(chat[:1], tokenize=False)
        whole = self.tokenizer.apply_chat_template(chat, tokenize=False)
        begun = len(self.tokenizer(prompt + "<|assistant|>")["input_ids"])
        ids = torch.tensor([self.tokenizer(whole)["input_ids"]])
        with torch.no_grad():
            logps = self.model(ids).logits[0, :-1].double().log_softmax(-1)
        return float(logps.gather(1, ids[0, 1:, None])[begun - 1 :].sum())


def _requested(language: str) -> str:
    name = {"es": "Spanish", "de": "German"}[language]
    return (
        f"Answer the following instruction in {name} only, unless it asks for another language."
        f"\n\n{QUESTION}"
    )


@pytest.fixture(scope="module")
def scored(root: Path) -> str:
    return run(recipe(root), answered(root))


def test_rewards_are_those_of_transformers_one_response_at_a_time(root: Path, scored: str):
    policy, reference = Oracle(root / "tuned"), Oracle(root / "before")
    found = scores_of(scored)
    assert len(found) == sum(map(len, TEXTS.values()))
    for (language, number), each in found.items():
        text = TEXTS[language][number]
        expected = BETA * (policy.logp(language, text) - reference.logp(language, text))
        assert each.value == pytest.approx(expected, abs=1e-4)
        assert abs(expected) > 1e-3, "models that agree would show nothing"


def test_dominant_instruction_is_read_in_every_language():
    assert scoring_messages("Why?", "en", "en")[0]["content"] == "Why?"
    spanish = scoring_messages("Why?", "es", "en")[0]["content"]
    assert spanish.endswith("\n\nWhy?") and "in Spanish only" in spanish


def test_counts_say_how_far_best_and_worst_are_apart(scored: str):
    counts = open_stage(scored).counts()
    values = [each.value for key, each in scores_of(scored).items() if key[0] == "es"]
    assert (counts["responses"], counts["scored"], counts["beta"]) == (7, 7, BETA)
    assert counts["languages"]["es"]["spread"] == pytest.approx(max(values) - min(values))


def test_responses_without_a_usable_text_have_a_reason_instead(root: Path):
    cut = Response("p0", "es", "Nina tie", "length", 7, 5, "es", Failure.TRUNCATED, 1)
    empty = Response("p0", "de", "", "stop", 7, 0, "de", Failure.EMPTY, 0)
    given = answered(root, {("es", 1): cut, ("de", 0): empty})
    found = scores_of(run(recipe(root), given))
    assert (found["es", 1].value, found["es", 1].failure) == (None, "truncated")
    assert (found["de", 0].value, found["de", 0].failure) == (None, "empty")
    assert all(found["es", number].value is not None for number in (0, 2))
    kept = scored_recipe(pairing={"icr": recipe(root).pairing.icr.model_dump(), "filters": "paper"})
    assert scores_of(run(kept, given))["es", 1].value is not None, "its pairs are kept"


def test_a_killed_step_goes_on_behind_what_is_there(root: Path, scored: str, monkeypatch):
    given = answered(root)
    done = open_stage(scored)
    logps = {name: done.read(name) for name in done.files(prefix="logps/")}
    shutil.rmtree(Path(scored))
    stage = Path(scored)
    for name in ("logps/policy/en.parquet", "logps/policy/es.parquet", "logps/policy/de.parquet"):
        (stage / name).parent.mkdir(parents=True, exist_ok=True)
        (stage / name).write_bytes(logps[name])
    loaded: list[Path] = []
    from lidr.components.shared.forward import loading

    load = loading.load_model
    monkeypatch.setattr(
        loading, "load_model", lambda files: loaded.append(files.folder) or load(files)
    )
    assert run(recipe(root), given) == scored
    assert loaded == [root / "before"], "the policy had been through"
    again = open_stage(scored)
    assert {name: again.read(name) for name in again.files(prefix="logps/")} == logps


def test_texts_beyond_the_context_are_cut_alike_for_both_models(root: Path):
    long = Response("p0", "es", "Nina tiene 4 libros. " * 60, "stop", 7, 5, "es", None, 0)
    given = answered(root, {("es", 0): long})
    found = scores_of(run(recipe(root), given))["es", 0]
    assert found.value is not None
    bounded = replace_model(recipe(root), max_length=32)
    assert scores_of(run(bounded, given))["es", 0].failure == "prompt_too_long"
    cut = replace(long, failure=Failure.TRUNCATED)
    kept = {"icr": recipe(root).pairing.icr.model_dump(), "filters": "paper"}
    bounded = replace_model(scored_recipe(pairing=kept), max_length=32)
    found = scores_of(run(bounded, answered(root, {("es", 0): cut})))["es", 0]
    assert found.failure == "prompt_too_long", "its text could be used, but for its prompt"


def replace_model(settings: Recipe, **model: object) -> Recipe:
    return settings.model_copy(update={"model": settings.model.model_copy(update=model)})


def test_models_with_other_words_are_refused(root: Path):
    from transformers import AutoTokenizer

    strange = root / "strange"
    shutil.copytree(root / "before", strange, dirs_exist_ok=True)
    tokenizer = AutoTokenizer.from_pretrained(strange)
    tokenizer.add_tokens(["zzz"])
    tokenizer.save_pretrained(strange)
    with pytest.raises(BadInput, match=r"pairing\.icr names models with different vocabularies"):
        run(recipe(root, reference=str(strange)), answered(root))


def test_a_reference_that_is_not_there_is_refused(root: Path):
    with pytest.raises(BadInput, match="no model at"):
        run(recipe(root, reference=str(root / "gone")), answered(root))


def trained(store: str, before: str) -> Stage:
    """Return a train stage whose start and reference have a digest."""
    files = {"model/a": before.encode()}
    return finished_stage(store, "train", files, start=before, reference=before)


def test_named_models_score_while_m_t_is_m_0_then_m_t_and_what_it_was_trained_against(root: Path):
    store = str(root / "models")
    world = world_stage(store, [Prompt("p0", "en", "?")], root / "before")
    first = trained(store, world.digest)
    second = trained(store, first.digest)

    def models(settings: Recipe, model: str) -> tuple[str, str]:
        return tuple(scoring_models(settings, store, world.uri, model))

    policy, reference = models(recipe(root), world.uri)
    sources = [open_stage(uri).marker()["facts"]["model"]["source"] for uri in (policy, reference)]
    assert sources == [str(root / "tuned"), str(root / "before")]
    assert models(recipe(root, policy=""), world.uri) == (world.uri, reference)
    assert models(recipe(root), first.uri) == (first.uri, world.uri)
    assert models(recipe(root), second.uri) == (second.uri, first.uri)
    always = recipe(root, policy="", every_iteration=True)
    assert models(always, second.uri) == (second.uri, reference)


def test_scores_of_another_beta_are_another_stage_with_other_sizes(root: Path, scored: str):
    doubled = run(recipe(root, beta=2 * BETA), answered(root))
    assert doubled != scored
    before, after = scores_of(scored), scores_of(doubled)
    assert after["es", 0].value == pytest.approx(2 * before["es", 0].value)
    assert run(recipe(root), answered(root)) == scored


def test_two_samples_and_a_third_are_scored_behind_one_prompt_each(root: Path):
    from lidr.components.shared.forward.loading import load_chat
    from lidr.components.shared.models.chat import PLAIN_CHAT

    chat = load_chat(PLAIN_CHAT, root / "before")
    answers = [
        Response("p0", "es", text, "stop", 7, 5, "es", None, number)
        for number, text in enumerate(TEXTS["es"])
    ]
    encoder = ResponseEncoder(recipe(root), chat, 256, {"p0": Prompt("p0", "en", QUESTION)})
    found = encoder.encode("es", answers)
    assert [each.samples for each in found.pairs] == [(("p0", 0), ("p0", 1)), (("p0", 2),)]
    assert found.pairs[1].tokens.chosen == found.pairs[1].tokens.rejected
    ended, cut = (
        encoder.encode("es", [replace(answers[0], failure=failure)])
        for failure in (None, Failure.TRUNCATED)
    )
    assert len(ended.pairs) == 1 and cut.failures == {("p0", 0): "truncated"}


def test_logps_are_kept_by_role_and_language(scored: str):
    stage = open_stage(scored)
    names = [f"logps/{role}/{code}.parquet" for role in ("policy", "reference") for code in TEXTS]
    assert set(stage.files(prefix="logps/")) == set(names)
    rows: list[SampleLogp] = stage.read_records(["logps/policy/es.parquet"], SampleLogp)
    assert [row.sample for row in rows] == [0, 1, 2]
    assert step.SCORES_FILE in stage.files()
