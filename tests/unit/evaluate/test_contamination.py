from __future__ import annotations

import json
import os
import tracemalloc
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from lidr.components.evaluate.contamination import find_overlaps, prompt_digests, summarise_overlaps
from lidr.components.shared.records.schema import EvalItem, Overlap, Prompt
from lidr.components.shared.stats.intervals import Interval, macro_average, wilson
from tests.fakes import world_stage

ROOT = Path(__file__).resolve().parents[3]
DATA = Path(os.environ.get("LIDR_SHARED_DATA", ROOT.parent / "shared" / "data"))

WORDS = ("one two three four five six seven eight nine ten eleven twelve thirteen fourteen").split()  # noqa: SIM905  # a sentence, not a list


def item(prompt: str, number: int = 0, language: str = "en", task: str = "t") -> EvalItem:
    right = float(number % 2 == 0)
    return EvalItem(task, language, str(number), prompt, "", "", right, language, "stop", 1)


def among(*texts: str) -> Callable[[str], Iterator[tuple[str, str]]]:
    return lambda code: iter([(f"p{number}", text) for number, text in enumerate(texts)])


def found(prompt: str, *texts: str, language: str = "en") -> dict[int, str]:
    """Return the shared n-gram, by size, of one item and training prompts."""
    overlaps, _ = find_overlaps([item(prompt, language=language)], among(*texts))
    return {overlap.size: overlap.ngram for overlap in overlaps}


@pytest.mark.parametrize(
    ("shared", "sizes"), [(7, set()), (8, {8}), (12, {8}), (13, {13, 8}), (14, {13, 8})]
)
def test_eight_and_thirteen_words_in_a_row_overlap(shared, sizes):
    text = " ".join(WORDS[:shared])
    grams = found(f"asked is {text} in the end of it", f"here {text} and then much more")
    assert set(grams) == sizes
    for size, gram in grams.items():
        assert gram == " ".join(WORDS[:size])


def test_the_same_words_in_another_order_do_not_overlap():
    assert found(" ".join(WORDS), " ".join(reversed(WORDS))) == {}


def test_case_width_punctuation_and_symbols_make_no_difference():
    text = " ".join(WORDS[:8])
    written = "ＯＮＥ, Two—three «four» *five* (six) $seven… eight!"
    assert found(f"{text} apples", f"pears {written}") == {8: text}


def test_combining_marks_belong_to_their_words():
    hindi = "एक दो तीन चार पाँच छह सात आठ"
    assert found(f"{hindi} फल", f"फूल {hindi}", language="hi") == {8: hindi}
    bare = hindi.replace("ी", "").replace("ा", "")
    assert found(f"{hindi} फल", f"फूल {bare}", language="hi") == {}


@pytest.mark.parametrize(
    ("language", "text"),
    [("zh", "每天早上吃三颗鸡蛋"), ("ja", "あひるは毎日卵を産む"), ("th", "เป็ดออกไข่ทุกวัน")],
)
def test_languages_without_spaces_are_compared_by_character(language, text):
    assert found(f"甲{text[:8]}", f"乙，{text[:3]} {text[3:8]}", language=language) == {8: text[:8]}
    assert found(f"甲{text[:7]}", f"乙{text[:7]}", language=language) == {}


def test_a_short_text_overlaps_only_where_it_is_the_same():
    assert found("What is 2 + 2?", "what is 2 2") == {13: "what is 2 2", 8: "what is 2 2"}
    assert found("What is 2 + 2?", "Tell me: what is 2 + 2?") == {}
    assert found("?!", "...") == {}


def test_what_a_task_always_says_is_no_overlap():
    asks = "Answer the question with a single number and with nothing else at all please"
    items = [item(f"{asks}: {word} {word}", number) for number, word in enumerate(WORDS)]
    assert find_overlaps(items, among(f"{asks}. How old is Tom?"))[0] == []
    overlaps, _ = find_overlaps([items[0]], among(f"{asks}. How old is Tom?"))
    assert [overlap.size for overlap in overlaps] == [13, 8], "one item may be the leaked one"


def test_prompts_are_counted_and_ten_are_named():
    text = " ".join(WORDS[:8])
    [overlap], counts = find_overlaps([item(f"{text} x")], among(*[f"{text} y"] * 25, "other"))
    assert overlap == Overlap("t", "en", "0", 8, text, 25, [f"p{number}" for number in range(10)])
    assert counts == {"en": 26}


def test_prompts_of_another_language_do_not_count():
    text = " ".join(WORDS)

    def prompts(code: str) -> Iterator[tuple[str, str]]:
        return iter([("p", text)] if code == "en" else [])

    overlaps, counts = find_overlaps([item(text, 0, "en"), item(text, 1, "de")], prompts)
    assert {overlap.language for overlap in overlaps} == {"en"}
    assert counts == {"en": 1, "de": 0}


def accuracy(items) -> Interval:
    return wilson(sum(item.score for item in items), len(items))


def test_scores_stand_with_and_without_the_overlapping_items():
    items = [item(f"{word} is asked", number, "es") for number, word in enumerate(WORDS)]
    items += [item(f"{word} is asked", number, "en") for number, word in enumerate(WORDS)]
    bad = [Overlap("t", "es", str(number), 8, "...", 1, ["p"]) for number in (0, 2, 4)]
    counts = summarise_overlaps(items, bad, {"es": 9, "en": 9}, ["es"], accuracy)
    assert counts["8"]["languages"]["es"] == {
        "unit": "words",
        "prompts": 9,
        "items": 14,
        "overlapping": 3,
        "with": wilson(7, 14),
        "without": wilson(4, 11),
    }
    assert counts["8"]["languages"]["en"]["overlapping"] == 0
    assert counts["8"]["average"] == {
        "with": macro_average([wilson(7, 14)]),
        "without": macro_average([wilson(4, 11)]),
    }
    assert counts["13"]["languages"]["es"]["without"] == wilson(7, 14)


def test_where_every_item_overlaps_nothing_is_left_to_score():
    bad = [Overlap("t", "es", "0", 13, "...", 1, ["p"])]
    counts = summarise_overlaps([item("x", 0, "es")], bad, {"es": 1}, ["es"], accuracy)
    assert counts["13"]["languages"]["es"]["without"] is None
    assert counts["13"]["average"]["without"] is None


def test_the_digests_are_those_of_the_prompts_alone(tmp_path):
    rows = [Prompt("1", "en", "a"), Prompt("1", "es", "b")]
    first = prompt_digests(world_stage(str(tmp_path / "a"), rows).uri)
    assert sorted(first) == ["prompts/en.parquet", "prompts/es.parquet"]
    other = prompt_digests(world_stage(str(tmp_path / "b"), rows[:1]).uri)
    assert other == {"prompts/en.parquet": first["prompts/en.parquet"]}
    assert prompt_digests("") == {}


def test_many_prompts_need_no_more_memory_than_few():
    items = [item(f"{word} {' '.join(WORDS)}", number) for number, word in enumerate(WORDS)]

    def prompts(count: int) -> Callable[[str], Iterator[tuple[str, str]]]:
        return lambda code: ((str(n), f"{n} sheep and {n} goats on a hill") for n in range(count))

    find_overlaps(items, prompts(10))
    tracemalloc.start()
    assert find_overlaps(items, prompts(20_000)) == ([], {"en": 20_000})
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 500_000, "their texts alone are 2 MB"


@pytest.mark.skipif(
    not (DATA / "mgsm").is_dir(), reason=f"no real text at {DATA} (set LIDR_SHARED_DATA)"
)
@pytest.mark.parametrize("code", ["es", "de", "fr"])
def test_mgsm_is_clean_of_gsm8k_s_training_questions_until_one_is_planted(code):
    questions = [row["query"] for row in _rows("mgsm", code)]
    items = [item(text, number, code) for number, text in enumerate(questions)]
    prompts = [(row["id"], row["instruction"]) for row in _rows("gsm8k", code)]
    clean, counts = find_overlaps(items, lambda _: prompts)
    assert counts == {code: 1000}
    assert [overlap for overlap in clean if overlap.size == 13] == []
    assert len(clean) < 10, "eight words of everyday language"
    planted = [*prompts, ("planted", f"Oye: {questions[17].upper()} Piensa bien.")]
    leaked, _ = find_overlaps(items, lambda _: planted)
    [long] = [overlap for overlap in leaked if overlap.size == 13]
    assert (long.item_id, long.prompt_ids) == ("17", ["planted"])


def _rows(folder: str, code: str) -> list[dict[str, str]]:
    path = DATA / folder / f"{code}.jsonl"
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
