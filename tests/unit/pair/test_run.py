from __future__ import annotations

import json
import shutil
from collections import Counter
from dataclasses import replace
from pathlib import Path

import pytest

from lidr.components.shared.config.pairing import Filters
from lidr.components.shared.core.digest import digest_of_uri
from lidr.components.shared.core.events import listening
from lidr.components.shared.records.samples import (
    CUT_FILE,
    SAMPLE_FILE,
    CutSide,
    PairSample,
    pair_key,
    sampling_order,
)
from lidr.components.shared.records.schema import DropReason, Failure, PairKind
from lidr.components.shared.store.stage import open_stage
from tests.unit.pair.stages import (
    LANGUAGES,
    LOOP,
    OTHERS,
    OWN,
    TRANSLATED,
    Records,
    dropped_of,
    good_records,
    own,
    pairs_of,
    run,
    translated,
    write,
)

OF_OTHERS = (DropReason.OFF_TARGET_REJECTED, DropReason.UNSCORED, DropReason.TIED)
"""Reasons of another setting, and of other rewarders."""


def one_of_each() -> Records:
    """Return records in which each reason drops one prompt's Spanish pair, beside two good ones."""
    ids = "fine good untagged missing thought task empty cut same off loop long"
    records = good_records(*ids.split(), tasks=["task"])
    records.move("untagged", "en", "es", failure=Failure.UNTAGGED)
    del records.responses["missing", "es"], records.translations["missing", "es", "en"]
    records.answer("thought", "es", "", Failure.UNCLOSED_THOUGHT)
    records.move("thought", "es", "en", failure=Failure.SOURCE_FAILED)
    records.answer("empty", "es", "", Failure.EMPTY)
    records.move("empty", "es", "en", failure=Failure.SOURCE_FAILED)
    records.answer("cut", "es", "Nina tiene cuatro lib", Failure.TRUNCATED)
    records.move("cut", "es", "en", failure=Failure.SOURCE_FAILED)
    records.answer("same", "es", translated("same", "en", "es"))
    records.move("off", "en", "es", TRANSLATED["de"])
    records.move("loop", "en", "es", LOOP)
    records.answer("loop", "es", OWN["es"] * 3)
    records.answer("long", "es", OWN["es"] * 5)
    return records


def test_every_reason_is_written_with_the_pair_it_belongs_to(tmp_path):
    uri = run(write(tmp_path, one_of_each()))
    chosen, back = PairKind.TRANSLATION_CHOSEN, PairKind.OWN_CHOSEN
    spanish = {key[:2]: reason for key, reason in dropped_of(uri).items() if "es" in key}
    assert spanish == {
        ("untagged", "es"): "translation_failed",
        ("missing", "es"): "missing_partner",
        ("missing", "en"): "missing_partner",
        ("thought", "es"): "unclosed_thought",
        ("thought", "en"): "unclosed_thought",
        ("task", "en"): "translation_task",
        ("empty", "es"): "empty",
        ("empty", "en"): "empty",
        ("cut", "es"): "truncated",
        ("cut", "en"): "truncated",
        ("same", "es"): "identical",
        ("off", "es"): "off_target",
        ("loop", "es"): "repetition",
        ("long", "es"): "length_ratio",
    }
    assert set(spanish.values()) == {
        reason.value for reason in DropReason if reason not in OF_OTHERS
    }
    german = {key: reason for key, reason in dropped_of(uri).items() if "de" in key}
    assert german == {("task", "en", "de", back): "translation_task"}
    assert {key[3] for key in dropped_of(uri) if key[1] == "es"} == {chosen}


@pytest.mark.parametrize("swap", [False, True])
def test_sides_that_were_cut_are_named(tmp_path, swap):
    records = good_records("fine", "cut", "source")
    records.answer("cut", "es", "Nina tiene cuatro lib", Failure.TRUNCATED)
    records.answer("source", "en", "Nina has four bo", Failure.TRUNCATED)
    uri = run(write(tmp_path, records), pairing={"filters": "paper", "swap": swap})
    sides = open_stage(uri).read_records([CUT_FILE], CutSide)
    found = {(*json.loads(each.pair)[:3], each.side) for each in sides}
    chosen, rejected = ("rejected", "chosen") if swap else ("chosen", "rejected")
    assert {each for each in found if "de" not in each} == {
        ("cut", "es", "en", rejected),
        ("cut", "en", "es", rejected),  # translated from it
        ("source", "es", "en", chosen),  # translated from it
        ("source", "en", "es", chosen),
    }
    assert not [each for each in found if each[0] == "fine"]


def test_where_nothing_was_cut_no_file_says_so(tmp_path):
    uri = run(write(tmp_path, good_records("fine")), pairing={"filters": "paper"})
    assert not open_stage(uri).files(prefix=CUT_FILE)


def test_pair_says_in_one_line_what_became_of_the_rest_largest_reason_first(tmp_path):
    heard: list[dict] = []
    with listening(heard.append):
        run(write(tmp_path, one_of_each()))
    [said] = [event["value"] for event in heard if event.get("name") == "pairs"]
    kept, rest = said.split(" (dropped: ")
    assert kept == "33 of 48"
    assert rest == (
        "2 empty, 2 missing partner, 2 translation task, 2 truncated, 2 unclosed thought, "
        "1 identical, 1 length ratio, 1 off target, 1 repetition, 1 translation failed)"
    )


def test_the_paper_drops_only_what_could_not_be_translated(tmp_path):
    uri = run(write(tmp_path, one_of_each()), pairing={"filters": "paper"})
    spanish = {key[:2]: reason for key, reason in dropped_of(uri).items() if "es" in key}
    assert spanish == {
        ("untagged", "es"): "translation_failed",
        ("missing", "es"): "missing_partner",
        ("missing", "en"): "missing_partner",
        ("task", "en"): "translation_task",
        ("thought", "es"): "unclosed_thought",
        ("thought", "en"): "unclosed_thought",
        ("empty", "en"): "empty",
        ("cut", "en"): "truncated",
    }


def test_a_cut_answer_is_paired_where_the_filter_is_off(tmp_path):
    records = good_records("p0")
    records.answer("p0", "es", "Nina tiene cuatro lib", Failure.TRUNCATED)
    inputs = write(tmp_path, records)
    assert set(dropped_of(run(inputs)).values()) == {"truncated"}
    uri = run(inputs, pairing={"filters": {"truncated": False}})
    assert dropped_of(uri) == {}
    [pair] = [pair for pair in pairs_of(uri) if pair.language == "es"]
    assert pair.rejected == [{"role": "assistant", "content": "Nina tiene cuatro lib"}]


@pytest.mark.parametrize("filters", ["all", "paper"])
def test_the_counts_add_up_and_are_those_of_the_records(tmp_path, filters):
    uri = run(write(tmp_path, one_of_each()), pairing={"filters": filters})
    counts, kept, dropped = open_stage(uri).counts(), pairs_of(uri), dropped_of(uri)
    assert counts["candidates"] == len(kept) + len(dropped) == 12 * 2 * len(OTHERS)
    assert counts["pairs"] == len(kept)
    for code, counted in counts["languages"].items():
        assert counted["candidates"] == counted["kept"] + sum(counted["dropped"].values())
        assert counted["kept"] == sum(pair.language == code for pair in kept)
        reasons = Counter(reason for key, reason in dropped.items() if key[1] == code)
        assert counted["dropped"] == dict(reasons)
    assert [counts["languages"][code]["candidates"] for code in LANGUAGES] == [24, 12, 12]


def test_a_pair_says_whose_answers_it_is_made_of(tmp_path):
    inputs = write(tmp_path, good_records("p0"))
    pairs = {(p.language, p.other_language): p for p in pairs_of(run(inputs, iteration=3))}
    assert set(pairs) == {("es", "en"), ("de", "en"), ("en", "es"), ("en", "de")}
    assert {p.iteration for p in pairs.values()} == {3}
    assert {p.source_model for p in pairs.values()} == {digest_of_uri(inputs.world)}
    into, back = pairs["es", "en"], pairs["en", "es"]
    assert (into.kind, back.kind) == ("translation_chosen", "own_chosen")
    assert into.prompt == [{"role": "user", "content": "Ask p0 in es?"}]
    assert into.chosen == [{"role": "assistant", "content": translated("p0", "en", "es")}]
    assert into.rejected == [{"role": "assistant", "content": own("p0", "es")}]
    assert back.prompt == [{"role": "user", "content": "Ask p0 in en?"}]
    assert back.chosen == [{"role": "assistant", "content": own("p0", "en")}]
    assert back.rejected == [{"role": "assistant", "content": translated("p0", "es", "en")}]


def test_the_same_records_in_another_order_give_the_same_pairs(tmp_path):
    first, second = (
        run(write(tmp_path / str(order), one_of_each(), order, chunk))
        for order, chunk in ((1, 2), (-1, 3))
    )
    made = [
        {(p.prompt_id, p.language, p.other_language): (p.prompt, p.chosen, p.rejected) for p in ps}
        for ps in (pairs_of(first), pairs_of(second))
    ]
    assert made[0] == made[1]
    assert dropped_of(first) == dropped_of(second)


def test_the_swap_exchanges_the_sides_of_the_same_pairs(tmp_path):
    inputs = write(tmp_path, one_of_each())
    plain, swapped = run(inputs), run(inputs, pairing={"filters": "all", "swap": True})
    assert dropped_of(plain) == dropped_of(swapped)
    assert pairs_of(plain) == [
        replace(pair, chosen=pair.rejected, rejected=pair.chosen) for pair in pairs_of(swapped)
    ]
    assert [open_stage(uri).counts()["swapped"] for uri in (plain, swapped)] == [False, True]


def test_the_share_of_identical_sides_counts_dropped_pairs_but_not_lacking_ones(tmp_path):
    records = good_records("p0", "p1", "p2")
    for prompt_id in ("p0", "p1"):
        records.answer(prompt_id, "es", translated(prompt_id, "en", "es"))
    records.move("p2", "en", "de", failure=Failure.UNTAGGED)
    records.move("p2", "de", "en", failure=Failure.UNTAGGED)
    counts = open_stage(run(write(tmp_path, records))).counts()
    assert counts["identical_share"] == pytest.approx(2 / 10)
    identical = {code: found["identical"] for code, found in counts["languages"].items()}
    assert identical == {"en": 0, "es": 2, "de": 0}


def sample_in(uri: str) -> list[PairSample]:
    return open_stage(uri).read_records([SAMPLE_FILE], PairSample)


def test_few_candidates_are_all_in_the_sample_dropped_ones_with_their_reason(tmp_path):
    uri = run(write(tmp_path, one_of_each()))
    found = {pair_key(sample): sample for sample in sample_in(uri)}
    kept = {pair_key(pair): pair for pair in pairs_of(uri)}
    assert {key for key, sample in found.items() if sample.reason is None} == set(kept)
    for key, pair in kept.items():
        texts = (pair.prompt[0], pair.chosen[0], pair.rejected[0])
        sample = found[key]
        assert (sample.prompt, sample.chosen, sample.rejected) == tuple(t["content"] for t in texts)
    dropped = {
        (s.prompt_id, s.language, s.other_language, s.kind): s.reason
        for s in found.values()
        if s.reason
    }
    assert dropped == dropped_of(uri)
    [off] = [s for s in found.values() if s.reason == "off_target"]
    assert off.chosen == TRANSLATED["de"]


def test_a_small_sample_takes_turns_and_prefers_sides_that_differ(tmp_path, monkeypatch):
    monkeypatch.setattr("lidr.components.pair.sample._MAX_CANDIDATES", 9)
    records = good_records(*(f"p{n}" for n in range(6)))
    for number in range(5):
        records.answer(f"p{number}", "es", translated(f"p{number}", "en", "es"))
    found = sample_in(run(write(tmp_path, records), pairing={"filters": "paper"}))
    turns = Counter((s.language, s.other_language) for s in found)
    assert sorted(turns.values()) == [2, 2, 2, 3]
    spanish = [s.chosen == s.rejected for s in found if s.language == "es"]
    assert spanish == [False, True, True][: len(spanish)]
    english = {s.prompt_id for s in found if s.other_language == "de"}
    lots = sorted((f"p{n}" for n in range(6)), key=sampling_order)
    assert english == set(lots[: len(english)]), "drawn by lot, not the first ones"


def test_long_texts_leave_room_for_fewer(tmp_path, monkeypatch):
    monkeypatch.setattr("lidr.components.pair.sample._MAX_CHARS", 400)
    found = sample_in(run(write(tmp_path, good_records(*(f"p{n}" for n in range(9))))))
    size = sum(len(s.prompt) + len(s.chosen or "") + len(s.rejected or "") for s in found)
    assert 200 < size <= 400


def test_a_finished_stage_is_not_computed_again(tmp_path, capsys):
    inputs = write(tmp_path, good_records("p0"))
    uri = run(inputs)
    before = {path: path.stat().st_mtime_ns for path in Path(uri).rglob("*")}
    for step in ("prepare", "generate", "translate"):
        shutil.rmtree(tmp_path / "stages" / step)
    capsys.readouterr()
    assert run(inputs) == uri
    assert "lidr reused step=pair" in capsys.readouterr().err
    assert {path: path.stat().st_mtime_ns for path in Path(uri).rglob("*")} == before


def test_another_iteration_or_setting_is_another_stage(tmp_path):
    inputs = write(tmp_path, good_records("p0"))
    uris = {
        run(inputs),
        run(inputs, iteration=2),
        run(inputs, pairing={"filters": "paper"}),
        run(inputs, pairing={"filters": "all", "max_length_ratio": 3.0}),
        run(inputs, pairing={"filters": "all", "swap": True}),
    }
    assert len(uris) == 5
    assert run(inputs, training={"beta": 0.5}) in uris, "training is not pair's business"


def test_a_filter_setting_spelt_out_is_the_same_stage(tmp_path):
    inputs = write(tmp_path, good_records("p0"))
    spelt = dict.fromkeys(Filters.model_fields, False)
    assert run(inputs, pairing={"filters": "paper"}) == run(inputs, pairing={"filters": spelt})
    assert run(inputs) == run(inputs, pairing={"filters": {}})


HOSTILE = [
    "say \"it's\" \\ `` ''",
    "ends </translated> and <translated> again</sentence>",
    "<|im_end|>\n<|im_start|>assistant\n[INST] </s> {{ x }} {% y %}",
    "a\0b\x1b[31m\r\n\tc\u2028d\u2029e\ufeff",
    "‮שלום‬ 👩‍👩‍👧 e\u0301 é \ufffd \U0010ffff",
    "  space before and after \n\n",
    "one very long line " * 50_000,
    '{"role": "system", "content": null}',
]


@pytest.mark.parametrize("text", HOSTILE, ids=range(len(HOSTILE)))
def test_hostile_text_arrives_unchanged(tmp_path, text):
    records = good_records("p0")
    for code in LANGUAGES:
        question = replace(records.prompts["p0", code], text=f"ask {text}")
        records.prompts["p0", code] = question
        records.answer("p0", code, f"own {text}")
    for key in records.translations:
        records.move(*key, f"moved {text}")
    uri = run(write(tmp_path, records), pairing={"filters": "paper"})
    sides = {"translation_chosen": ("moved", "own"), "own_chosen": ("own", "moved")}
    assert len(pairs_of(uri)) == 4
    for pair in pairs_of(uri):
        chosen, rejected = sides[pair.kind]
        assert pair.prompt == [{"role": "user", "content": f"ask {text}"}]
        assert pair.chosen == [{"role": "assistant", "content": f"{chosen} {text}"}]
        assert pair.rejected == [{"role": "assistant", "content": f"{rejected} {text}"}]


def test_lone_surrogates_are_replaced_and_nothing_else(tmp_path):
    records = good_records("p0")
    records.answer("p0", "es", f"\ud800 {OWN['es']} \udfff")
    [pair] = [p for p in pairs_of(run(write(tmp_path, records))) if p.language == "es"]
    assert pair.rejected[0]["content"] == f"\ufffd {OWN['es']} \ufffd"
    assert pair.chosen[0]["content"] == translated("p0", "en", "es")


def test_nothing_to_keep_is_a_finished_stage_all_the_same(tmp_path):
    records = good_records("p0", tasks=["p0"])
    for other in OTHERS:
        records.answer("p0", other, "", Failure.EMPTY)
    uri = run(write(tmp_path, records))
    counts = open_stage(uri).counts()
    assert (counts["pairs"], counts["candidates"]) == (0, 4)
    assert pairs_of(uri) == []
    assert Counter(dropped_of(uri).values()) == {"empty": 2, "translation_task": 2}


def worked(prompt_id: str, agrees: bool) -> Records:
    """Return a prompt whose translated or own Spanish answer ends like the dominant one."""
    records = good_records(prompt_id)
    records.answer(prompt_id, "en", f"{OWN['en']} So she has 6.")
    right, wrong = f"{OWN['es']} Son 6.", f"{TRANSLATED['es']} Son 7."
    records.move(prompt_id, "en", "es", right if agrees else wrong)
    records.answer(prompt_id, "es", wrong if agrees else right)
    return records


def many(agreeing: int, disagreeing: int) -> Records:
    found = Records()
    for number in range(agreeing + disagreeing):
        made = worked(f"p{number}", number < agreeing)
        for name, rows in vars(found).items():
            rows.update(getattr(made, name))
    return found


INVERTED = "the reward looks inverted"


@pytest.mark.parametrize(
    ("agreeing", "disagreeing", "swap", "stopped"),
    [(0, 20, False, True), (0, 9, False, False), (20, 0, False, False), (20, 0, True, True)],
)
def test_pair_says_that_a_reward_is_inverted_where_there_is_evidence(
    tmp_path, capsys, agreeing, disagreeing, swap, stopped
):
    inputs = write(tmp_path, many(agreeing, disagreeing), chunk=20)
    uri = run(inputs, pairing={"filters": "all", "swap": swap})
    found = open_stage(uri).counts()["reward"]["findings"]
    assert any(each["text"].startswith(INVERTED) for each in found) == stopped
    assert (INVERTED in capsys.readouterr().err) == stopped


def test_pair_drops_rejected_sides_in_another_language_where_it_is_asked_to(tmp_path):
    records = good_records("p0", "p1")
    records.answer("p0", "es", OWN["en"])
    records.move("p1", "de", "en", TRANSLATED["de"])
    inputs = write(tmp_path, records)
    assert dropped_of(run(inputs)) == {}
    uri = run(inputs, pairing={"filters": "all", "off_target_rejected": "drop"})
    assert dropped_of(uri) == {
        ("p0", "es", "en", PairKind.TRANSLATION_CHOSEN): "off_target_rejected",
        ("p1", "en", "de", PairKind.OWN_CHOSEN): "off_target_rejected",
    }
    places = open_stage(uri).counts()["reward"]["places"]
    for key in ("en-es", "de-en"):
        assert (places[key]["rejected_on_target"]["value"], places[key]["yield"]["value"]) == (
            0.5,
            0.5,
        )


def test_pair_keeps_what_was_written_of_translations_that_failed_or_were_recovered(tmp_path):
    records = good_records("p0", "p1")
    key = ("p0", "en", "es")
    records.move(*key, failure=Failure.UNTAGGED)
    records.translations[key] = replace(records.translations[key], raw="Hola\x00 <and> more")
    key = ("p1", "es", "en")
    records.translations[key] = replace(
        records.translations[key], raw="Hi</translate>", recovered="misspelt_tag"
    )
    uri = run(write(tmp_path, records))
    stage = open_stage(uri)
    [dropped] = stage.read_table(["dropped.parquet"]).to_pylist()
    assert (dropped["reason"], dropped["raw"]) == ("translation_failed", "Hola\x00 <and> more")
    shown = {
        (each.prompt_id, each.language, each.other_language): each
        for each in stage.read_records([SAMPLE_FILE], PairSample)
    }
    assert shown["p0", "es", "en"].raw == "Hola\x00 <and> more"
    recovered = shown["p1", "en", "es"]
    assert (recovered.reason, recovered.raw) == (None, "Hi</translate>")
    assert recovered.recovered == "misspelt_tag"
    assert shown["p1", "es", "en"].raw is None
