"""Prompts that say the same: which ones leave, against pieces that are counted here."""

from __future__ import annotations

import random
import unicodedata
from functools import cache
from itertools import combinations
from string import ascii_lowercase

import pytest

from lidr.components.shared.config.deduplication import Deduplication
from lidr.components.shared.inputs.duplicates import (
    Duplicate,
    counts_of,
    find_duplicates,
    note_of_duplicates,
    without_duplicates,
)
from lidr.components.shared.records.schema import Prompt
from tests.fakes import make_recipe

OFF, EXACT, NEAR = (Deduplication(mode=mode) for mode in ("off", "exact", "near"))


def prompts(*texts: str) -> list[Prompt]:
    return [Prompt(f"p{number}", "en", text) for number, text in enumerate(texts)]


@cache
def pieces(text: str) -> set[str]:
    normal = " ".join(unicodedata.normalize("NFKC", text).casefold().split())
    return {normal[at : at + 5] for at in range(max(1, len(normal) - 4))}


def jaccard(one: str, other: str) -> float:
    left, right = pieces(one), pieces(other)
    common = len(left & right)
    return common / (len(left) + len(right) - common)


def test_exact_duplicates_differ_in_case_and_white_space_alone():
    found = find_duplicates(
        prompts("What is 2 + 3?", "what  is 2 + 3?\n", "What is 2 - 3?", "Ｗhat is 2 + 3?", "Why?"),
        EXACT,
        seed=0,
    )
    assert found == [
        Duplicate("p1", "p0", 1.0, exact=True),
        Duplicate("p3", "p0", 1.0, exact=True),
    ]


def test_duplicates_are_off_unless_they_are_asked_for():
    assert find_duplicates(prompts("Why?", "Why?"), OFF, seed=0) == []
    assert make_recipe().prompts.deduplicate == OFF


def drawn(count: int = 150) -> list[str]:
    """Return long texts, and after each two in which words were changed: few, and many."""
    rng = random.Random(5)
    texts = []
    for _ in range(count):
        words = ["".join(rng.choices(ascii_lowercase, k=6)) for _ in range(60)]
        few, many = list(words), list(words)
        few[rng.randrange(60)] = "altogether"
        for at in rng.sample(range(60), 24):
            many[at] = "different"
        texts += [" ".join(each) for each in (words, few, many)]
    return texts


def test_near_duplicates_are_those_that_share_most_pieces():
    texts = drawn()
    found = find_duplicates(prompts(*texts), NEAR, seed=0)
    gone = {int(each.prompt_id[1:]) for each in found}
    shares = {pair: jaccard(texts[pair[0]], texts[pair[1]]) for pair in combinations(range(450), 2)}
    clear = {later for (_, later), share in shares.items() if share >= 0.9}
    doubtful = {later for (_, later), share in shares.items() if share >= 0.7}
    assert len(clear) > 100
    assert clear <= gone <= doubtful
    for each in found:
        true = jaccard(texts[int(each.prompt_id[1:])], texts[int(each.duplicate_of[1:])])
        assert each.similarity == pytest.approx(true, abs=0.15), "3.5 standard errors of MinHash"
        assert int(each.duplicate_of[1:]) < int(each.prompt_id[1:]), "the earlier one stays"
        assert int(each.duplicate_of[1:]) not in gone


def test_what_a_near_duplicate_is_like_stays_however_the_texts_drift():
    words = [f"word{number}" for number in range(60)]
    texts = []
    for at in range(300):  # each text differs from the one before by a word
        words[at % 60] = f"other{at}"
        texts.append(" ".join(words))
    found = find_duplicates(prompts(*texts), NEAR, seed=0)
    gone = {each.prompt_id for each in found}
    assert 150 < len(gone) < 300
    assert not gone & {each.duplicate_of for each in found}
    for each in found:
        true = jaccard(texts[int(each.prompt_id[1:])], texts[int(each.duplicate_of[1:])])
        assert each.similarity == pytest.approx(true, abs=0.15)


def test_texts_of_one_signature_that_differ_are_near_duplicates():
    words = " ".join(f"w{number}" for number in range(2000))
    found = find_duplicates(prompts(words, f"{words} end", words), NEAR, seed=0)
    assert [(each.similarity, each.exact) for each in found] == [(1.0, False), (1.0, True)]
    assert counts_of(found) == {"exact": 1, "near": 1}


def test_near_duplicates_are_the_same_for_a_seed():
    some = prompts(*drawn(40))
    assert find_duplicates(some, NEAR, seed=3) == find_duplicates(some, NEAR, seed=3)


def test_near_finds_equal_texts_and_short_ones_too():
    found = find_duplicates(prompts("Hi", "hi", "你好", "再见", ""), NEAR, seed=0)
    assert found == [Duplicate("p1", "p0", 1.0, exact=True)]


def test_a_duplicate_leaves_in_all_languages():
    english = prompts("Why?", "Who?", "WHY?")
    spanish = [Prompt(p.prompt_id, "es", text) for p, text in zip(english, "abc", strict=True)]
    found = find_duplicates(english, EXACT, seed=0)
    left = without_duplicates({"en": english, "es": spanish}, found)
    assert [p.prompt_id for p in left["en"]] == [p.prompt_id for p in left["es"]] == ["p0", "p1"]


def test_duplicates_are_counted_and_told():
    found = [
        Duplicate("7", "3", 1.0, exact=True),
        Duplicate("9", "2", 1.0, exact=False),
        Duplicate("10", "1", 0.82, exact=False),
    ]
    assert counts_of(found) == {"exact": 1, "near": 2}
    assert note_of_duplicates(found, 2000) == (
        "3 of 2,000 prompts are left out, in all languages: 1 repeat an earlier one exactly and 2 "
        "nearly, first '7' like '3'"
    )
    assert note_of_duplicates([], 3) == "none of 3 prompts repeats an earlier one"


def test_yaml_s_off_is_a_word():
    assert Deduplication.model_validate({"mode": False}) == OFF


def test_the_tiny_world_has_nothing_to_deduplicate():
    with pytest.raises(ValueError, match=r"prompts\.deduplicate is for prompts\.files"):
        make_recipe(prompts={"deduplicate": {"mode": "exact"}})
