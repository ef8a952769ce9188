"""The reward check: what is measured, and what is concluded from how much of it."""

from __future__ import annotations

import random
from collections.abc import Mapping
from typing import Any

import pytest

from lidr.components.pair.reward.observations import Observations, _ends_with
from lidr.components.pair.reward.verdict import (
    RewardFinding,
    findings,
    measure,
    place_words,
    reason_of,
    verdict_of,
)
from lidr.components.pair.rewarders.lidr.candidates import candidates
from lidr.components.pair.rewarders.lidr.observations import direction_keys, observe, pooled
from lidr.components.pair.run import decide, languages_of
from lidr.components.pair.stage import after_pairs
from lidr.components.shared.config.recipe import Languages, Recipe
from lidr.components.shared.core.languages import NAMES, LanguageIdentifier
from lidr.components.shared.records.schema import Prompt
from lidr.components.shared.store.stage import open_stage
from tests.fakes import make_recipe
from tests.unit.pair.stages import (
    LANGUAGES,
    OWN,
    TRANSLATED,
    WAYS,
    Records,
    good_records,
    run,
    write,
)

IDENTIFIER = LanguageIdentifier(LANGUAGES)


def settings(pairing: Mapping[str, Any] | None = None, **reward: Any) -> Recipe:
    section = {"filters": "paper", "reward": {"min_steps": 0, **reward}, **(pairing or {})}
    return make_recipe(pairing=section)


def seen(records: Records, recipe: Recipe | None = None, swap: bool = False) -> dict[str, Any]:
    """Return what is counted of records, by place."""
    recipe = recipe or settings()
    found = candidates(recipe.languages, records.samples())
    detected = languages_of(found, IDENTIFIER)
    decided = decide(recipe.pairing, found, detected)
    if swap:
        decided = [(candidate.swapped(), reason) for candidate, reason in decided]
    places = measure(pooled("en", observe(recipe, records.samples(), decided, detected)))
    return {key: place.to_counts(10) for key, place in places.items()}


def many(count: int = 30) -> Records:
    """Return good records whose texts end with a number."""
    records = good_records(*(f"p{n}" for n in range(count)))
    for number in range(count):
        for code in LANGUAGES:
            records.answer(f"p{number}", code, f"{OWN[code]} ({number + 10})")
        for source, target in WAYS:
            text = f"{TRANSLATED[target]} ({number + 10})"
            records.move(f"p{number}", source, target, text)
    return records


def shares(found: dict[str, Any], name: str) -> dict[str, tuple[float, int]]:
    return {
        key: (place[name]["value"], place[name]["n"])
        for key, place in found.items()
        if name in place
    }


def test_a_translation_in_another_language_counts_in_its_direction_and_its_pools():
    records = many(12)
    for number in range(12):
        records.move(f"p{number}", "es", "en", OWN["de"] + f" ({number})")
    found = shares(seen(records), "on_target")
    assert found["es-en"] == (0.0, 12)
    assert found["de-en"] == found["en-es"] == found["en-de"] == (1.0, 12)
    assert found["*-en"] == (0.5, 24)
    assert found["en-*"] == (1.0, 24)
    assert found["*-*"] == (0.75, 48)


def test_a_returned_source_counts_as_a_copy_and_its_round_trip_does_not_count():
    records = many(4)
    for number in range(4):
        source = records.responses[f"p{number}", "en"].text
        records.move(f"p{number}", "en", "es", source if number else None)
        records.move_back(f"p{number}", "en", "es", source)
    found = seen(records)
    assert shares(found, "not_copied")["en-es"] == (0.25, 4)
    assert found["en-es"]["round_trip"]["n"] == 1
    assert found["en-es"]["round_trip"]["value"] == pytest.approx(100.0)
    assert found["es-en"]["round_trip"]["n"] == 0


def test_a_text_too_short_to_show_a_language_is_neither_in_it_nor_a_copy():
    records = good_records("p0")
    records.answer("p0", "en", "Berlin, 1990.")
    records.move("p0", "en", "de", "Berlin, 1990.")
    found = seen(records)["en-de"]
    assert "on_target" not in found
    assert "not_copied" not in found
    assert found["numbers"]["value"] == 1.0


def answered_right(votes: str, answer: str | None = "6") -> Records:
    """Return a prompt per letter: `c` only chosen is right, `r` only rejected, `b` both, `n` none.

    Of the Spanish pairs; the German sides are both right.
    """
    records = many(len(votes))
    for number, vote in enumerate(votes):
        key = f"p{number}"
        for code in LANGUAGES:
            records.prompts[key, code] = Prompt(key, code, "How many?", answer)
        records.answer(key, "en", "So it is 6 books.")
        records.answer(key, "de", "Also sind es 6.")
        records.move(key, "en", "de", "Das sind 6.")
        records.move(key, "de", "en", "So it is 6.")
        records.move(key, "en", "es", "Son 6." if vote in "cb" else "Son 7.")
        records.answer(key, "es", "Total: 6" if vote in "rb" else "Total: 8")
        records.move(key, "es", "en", "Total: 6" if vote in "rb" else "Total: 8")
    return records


def test_a_pair_counts_where_one_side_alone_has_the_reference_answer():
    found = seen(answered_right("ccrbbnn"))
    assert shares(found, "right")["en-es"] == (2 / 3, 3)
    assert "right" not in found["en-de"], "both sides are right there"
    assert shares(found, "chosen_right")["en-es"] == (4 / 7, 7)
    assert shares(found, "rejected_right")["en-es"] == (3 / 7, 7)
    assert "agrees" not in found["en-es"]


def test_without_reference_answers_the_dominant_one_is_agreed_with():
    found = seen(answered_right("ccrbbnn", None))
    assert shares(found, "agrees")["en-es"] == (2 / 3, 3)
    assert "agrees" not in found["es-en"], "there the dominant answer is chosen by definition"
    assert "right" not in found["en-es"]


def test_a_reference_answer_without_a_number_must_be_a_text_s_end():
    records = answered_right("n", "La Habana.")
    records.move("p0", "en", "es", "Es la capital, La Habana")
    assert shares(seen(records), "right")["en-es"] == (1.0, 1)


@pytest.mark.parametrize(
    ("answer", "text", "right"),
    [
        ("A", "La respuesta correcta es (A).", True),
        ("A", "Es una banana", False),
        ("USA", "Es en los U.S.A.", True),
        ("हूँ", "मैं यहाँ हूँ।", True),
        ("हूँ", "मैं कहता हाँ।", False),
        ("París", "La capital es París ✔️", True),
        ("القاهرة", "العاصمة القاهرةُ", True),
        ("café", "Es un cafe\u0301.", True),
        ("2.5", "Son 2,5.", True),
    ],
)
def test_a_reference_answer_is_met_by_whole_words_and_its_number_is_english(answer, text, right):
    records = answered_right("n", answer)
    records.move("p0", "en", "es", text)
    found = seen(records)
    assert shares(found, "chosen_right")["en-es"] == (float(right), 1)


def test_a_number_is_read_as_its_text_s_language_writes_it():
    assert _ends_with("Das macht 3,142.", "3.142", "de")


@pytest.mark.parametrize(
    ("answer", "text", "right"),
    [
        ("11:30", "Der Zug kommt um 11:30.", True),
        ("11:30", "Der Zug kommt um 12:30.", False),
        ("3:4", "Das Verhältnis ist 5:4.", False),
        ("2 and 3", "Es sind 3.", False),
        ("2 1/2", "Es sind 2,5.", True),
        ("She has 3 + 69 = 72 of 80.\n#### 72", "Also 72.", True),
        ("#### 11:30", "Um 12:30.", False),
        ("The train leaves at 9 and takes 2 h.\n#### 11:30", "Er kommt um 11:30.", True),
        ("July 4, 1776", "Am 4. Juli 1776.", True),
        ("July 4, 1776", "Am 14. Juli 1776.", False),
        ("11:30", "Um 11 h 30.", True),
        ("3 + 69 = 72.", "Das sind 72.", True),
        ("3 + 69 = 72.", "Das sind 73.", False),
        ("In 1990 she moved.\n#### Paris", "Sie zog nach Paris.", True),
        ("In 1990 she moved.\n#### Paris", "Sie zog 1990.", False),
        ("####\n72", "Also 72.", True),
        ("####", "Also 72.", False),
        ("72 **apples**", "Es sind 72.", True),
        ("#### Solution\nThey are 72", "Es sind 72.", True),
        ("The answer is on the last line.\n72", "Es sind 72.", True),
        ("10-12, 5", "Seiten 8-9, 5", False),
    ],
)
def test_all_numbers_of_a_reference_answer_count(answer: str, text: str, right: bool):
    assert _ends_with(text, answer, "de") is right


def test_a_text_without_spaces_may_end_in_an_answer():
    assert _ends_with("答案是巴黎。", "巴黎", "zh")
    assert not _ends_with("答案是伦敦。", "巴黎", "zh")


@pytest.mark.parametrize(
    ("answer", "text", "language", "right"),
    [
        ("เสือ", "มันคือเสื่อ", "th", False),  # a tiger, a mat
        ("เสือ", "มันคือเสือ", "th", True),
        ("กุ้ง", "มันคือกั้ง", "th", False),
        ("ເສືອ", "ມັນແມ່ນເສື່ອ", "lo", False),
        ("सत्य", "यह सतय", "hi", False),
        ("सत्य", "यह सत्य।", "hi", True),
        ("கல்", "அது கல", "ta", False),
        ("হয়", "এটা হয", "bn", False),
        ("হয়", "এটা হয়।", "bn", True),
        ("တို့", "သူတို", "my", False),
        ("བོད", "འདི་བད", "bo", False),
        ("क़ानून", "यह कानून", "hi", True),
        ("שלום", "הוא אמר שָׁלוֹם", "he", True),
        ("كتاب", "هذا كِتَاب", "ar", True),
        ("❤️ Nina", "Es ❤ Nina", "es", True),
    ],
)
def test_marks_that_spelling_demands_count_and_those_that_may_be_lacking_do_not(
    answer: str, text: str, language: str, right: bool
):
    assert _ends_with(text, answer, language) is right


def test_an_answer_of_signs_alone_is_none():
    found = seen(answered_right("ccrbbnn", "√"))
    assert not {"chosen_right", "rejected_right", "right"} & set(found["en-es"])
    assert shares(found, "agrees")["en-es"] == (2 / 3, 3), "the dominant answer is agreed with"


def test_exchanged_sides_invert_the_reward():
    recipe = settings()
    records = answered_right("c" * 15)
    assert verdict(records, recipe) == "train"
    found = seen(records, swap=True)
    assert shares(found, "right")["en-es"] == (0.0, 15)


def test_an_own_answer_in_another_language_counts_as_a_rejected_side():
    records = many(10)
    for number in range(4):
        records.answer(f"p{number}", "es", OWN["en"] + f" ({number})")
    assert shares(seen(records), "rejected_on_target")["en-es"] == (0.6, 10)
    dropping = settings({"off_target_rejected": "drop"})
    found = seen(records, dropping)
    assert shares(found, "rejected_on_target")["en-es"] == (0.6, 10), "counted either way"
    assert shares(found, "yield")["en-es"] == (0.6, 10)


def verdict(records: Records, recipe: Recipe | None = None, pairs: int = 100) -> str:
    return verdict_of(found_in(records, recipe, pairs))


def found_in(
    records: Records, recipe: Recipe | None = None, pairs: int = 100
) -> list[RewardFinding]:
    recipe = recipe or settings()
    found = candidates(recipe.languages, records.samples())
    detected = languages_of(found, IDENTIFIER)
    decided = decide(recipe.pairing, found, detected)
    places = measure(pooled("en", observe(recipe, records.samples(), decided, detected)))
    return findings(recipe, places, pairs, 0.0)


def test_a_good_reward_is_trained_on_without_a_word():
    assert found_in(many()) == []


def test_translations_in_the_wrong_language_stop_with_a_sentence_and_a_remedy():
    records = many(24)
    for number in range(20):
        records.move(f"p{number}", "es", "en", f"{TRANSLATED['es']} ({number + 10})")
    [found] = [each for each in found_in(records) if each.measure == "on_target"]
    assert found.level == "stop"
    assert found.places == ("es-en",)
    assert found.text == (
        "translations are in the wrong language: only 17% of 24 from Spanish to English are in the "
        "right one; the bar is 80%"
    )
    assert found.remedy.startswith("Take a model that speaks these languages better")
    assert verdict(records, settings(min_on_target=0)) != "stop"


def test_few_texts_stop_nothing_by_themselves_but_do_together():
    records = many(9)
    for number in range(9):
        for code in ("es", "de"):
            records.move(f"p{number}", code, "en", OWN[code] + f" ({number}, back)")
    one_way = [each for each in found_in(records) if each.measure == "on_target"]
    assert one_way == [], "nine prompts are nine independent texts, however many languages"
    more = many(16)
    for number in range(8):
        records_of = "es" if number % 2 else "de"
        more.move(f"p{number}", records_of, "en", OWN[records_of] + f" ({number}, back)")
    assert verdict(more) != "stop"


def outcomes(share: float, count: int, rng: random.Random) -> Observations:
    made = Observations()
    for number in range(count):
        made.add("on_target", f"p{number}", True)
        for name in ("numbers", "not_copied", "links"):
            made.add(name, f"p{number}", rng.random() < share)
    return made


@pytest.mark.parametrize("count", [3, 12, pytest.param(200, marks=pytest.mark.slow)])
def test_rewards_exactly_at_their_bars_are_hardly_ever_stopped(count):
    recipe, rng, repeats = settings(), random.Random(count), 300
    stops = 0
    for _ in range(repeats):
        made = {key: outcomes(0.8, count, rng) for key in direction_keys(recipe)}
        stops += verdict_of(findings(recipe, measure(pooled("en", made)), 100, 0.0)) == "stop"
    assert stops / repeats <= 0.05 + 2 * (0.05 * 0.95 / repeats) ** 0.5


def test_a_reward_far_below_its_bar_is_stopped_from_few_texts_on():
    recipe, rng = settings(), random.Random(0)
    made = {key: outcomes(0.2, 12, rng) for key in direction_keys(recipe)}
    assert verdict_of(findings(recipe, measure(pooled("en", made)), 100, 0.0)) == "stop"


def test_half_way_between_a_bar_and_perfection_there_is_a_warning():
    recipe = settings()
    made = {key: Observations() for key in direction_keys(recipe)}
    for number in range(200):
        made["en-es"].add("numbers", f"p{number}", number % 20 >= 3)
    [found] = findings(recipe, measure(pooled("en", made)), 100, 0.0)
    assert (found.level, found.measure) == ("warn", "numbers")
    assert found.text.endswith(
        "only 85% of 200 from English to Spanish keep all of them; 90% or more would be good"
    )


def test_round_trips_that_lose_everything_stop():
    records = many(12)
    for number in range(12):
        records.move_back(f"p{number}", "en", "es", "zzz qqq")
    [found] = [each for each in found_in(records) if each.level == "stop"]
    assert found.measure == "round_trip"
    assert "from English to Spanish in chrF (0 to 100); the bar is 30" in found.text


@pytest.mark.parametrize("count", [4, 19])
def test_round_trips_that_lose_everything_stop_in_any_number_of_languages(count):
    codes = sorted(set(NAMES) - {"en"})[:count]
    recipe = settings().model_copy(update={"languages": Languages(dominant="en", others=codes)})
    rng = random.Random(0)
    made = {key: outcomes(1.0, 20, rng) for key in direction_keys(recipe)}
    for found in made.values():
        found.round_trips += [(f"p{number}", 2 * rng.random()) for number in range(20)]
    [found] = findings(recipe, measure(pooled("en", made)), 100, 0.0)
    assert (found.level, found.measure) == ("stop", "round_trip")
    assert len(found.places) == 2 * count


def test_too_few_pairs_for_one_step_stop_by_default():
    recipe = make_recipe(training={"batch_size": 16, "epochs": 2})
    [found] = [each for each in found_in(many(), recipe, pairs=7) if each.level == "stop"]
    assert found.text == (
        "7 pairs are too few for one optimizer step of training.batch_size 16: 8 are needed"
    )
    assert verdict(many(), recipe, pairs=8) == "train"


def test_rejected_sides_in_another_language_are_warned_of_and_the_verdict_stays():
    records = many(30)
    for number in range(15):
        records.answer(f"p{number}", "es", f"{OWN['en']} ({number + 10})")
    [found] = found_in(records)
    assert (found.level, found.measure) == ("note", "rejected_on_target")
    assert "only 50% of 30 from English to Spanish" in found.text
    assert "off_target_rejected=drop" in found.remedy
    assert verdict_of([found]) == "train"


def test_answers_in_another_language_are_no_fault_of_the_translator():
    records = many(30)
    for number in range(30):
        answer = f"{OWN['en']} ({number + 10})"
        records.answer(f"p{number}", "es", answer)
        records.move(f"p{number}", "es", "en", answer)
        records.move_back(f"p{number}", "es", "en", "zzz")
    found = seen(records)["es-en"]
    assert "on_target" not in found
    assert "not_copied" not in found
    assert found["round_trip"]["n"] == 0
    assert verdict(records) == "train"


def test_content_that_nothing_tells_of_is_said_to_be_unverifiable():
    records = many()
    said = {
        "en": "The cat sleeps on the warm roof while it rains outside.",
        "es": "El gato duerme en el tejado caliente mientras llueve fuera.",
        "de": "Die Katze schläft auf dem warmen Dach, während es draußen regnet.",
    }
    for number in range(30):
        for code in LANGUAGES:
            records.answer(f"p{number}", code, said[code])
        for source, target in WAYS:
            records.move(f"p{number}", source, target, said[target])
    [found] = found_in(records)
    assert (found.level, found.measure) == ("warn", "unverifiable")
    assert "not verifiable here" in found.text


def test_the_weightiest_reasons_come_first_and_are_counted():
    found = [RewardFinding("warn", "a", "a little", "x")]
    found += [RewardFinding("stop", name, f"{name} is broken", "x") for name in "bcdef"]
    assert verdict_of(found) == "stop"
    assert reason_of(found) == "b is broken; c is broken; d is broken; and 2 more"
    assert reason_of([]) == ""


def test_directions_are_said_in_words():
    words = [place_words(key) for key in ("en-es", "*-en", "en-*", "*-*")]
    assert words == ["from English to Spanish", "into English", "from English", "in all directions"]


def test_pair_leaves_its_verdict_in_its_marker_and_the_recipe_may_go_on(tmp_path):
    inputs = write(tmp_path, many(4))
    few = {"batch_size": 64}
    counts = open_stage(run(inputs, training=few)).counts()
    assert counts["reward"]["verdict"] == "stop"
    assert counts["reward"]["reason"].startswith("16 pairs are too few")
    assert counts["reward"]["min_pairs"] == 64
    recipe = make_recipe(training=few)
    assert after_pairs(recipe, counts) == "stop"
    going_on = {"filters": "all", "reward": {"on_stop": "train"}}
    again = run(inputs, training=few, pairing=going_on)
    assert again == run(inputs, training=few), "what is done about a verdict is no part of it"
    assert after_pairs(make_recipe(training=few, pairing=going_on), counts) == "train"
    assert after_pairs(recipe, open_stage(run(inputs)).counts() | {"reward": {}}) == "train"


def test_of_many_prompts_some_are_checked_drawn_by_lot(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr("lidr.components.pair.sample._MAX_CHECKED_PROMPTS", 3)
    counts = open_stage(run(write(tmp_path, many(8)))).counts()
    reward = counts["reward"]
    assert (reward["prompts"], reward["all_prompts"], counts["candidates"]) == (3, 8, 32)
    checked = reward["places"]["en-de"]
    assert {checked[name]["n"] for name in ("yield", "on_target", "numbers")} == {3}
    assert "the reward check looks at 3 of 8 prompts" in capsys.readouterr().err


def test_a_few_prompts_are_checked_all_of_them_without_a_word(tmp_path, capsys):
    reward = open_stage(run(write(tmp_path, many(8)))).counts()["reward"]
    assert reward["prompts"] == reward["all_prompts"] == reward["places"]["en-de"]["numbers"]["n"]
    assert "the reward check looks at" not in capsys.readouterr().err
