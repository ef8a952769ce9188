from __future__ import annotations

import pytest

from lidr.components.pair.reward.preservation import (
    is_copy,
    keeps_code,
    keeps_links,
    keeps_names,
)

ENGLISH = "The committee will meet on the first floor, next to the large kitchen."
GERMAN = "Der Ausschuss trifft sich im ersten Stock, neben der großen Küche."


@pytest.mark.parametrize(
    ("source", "translation", "copied"),
    [
        (ENGLISH, ENGLISH, True),
        (ENGLISH, f"  {ENGLISH.upper()}\n", True),
        (ENGLISH, ENGLISH.replace("meet", "convene"), False),
        (ENGLISH * 4, (ENGLISH * 3) + ENGLISH.replace("first", "third"), True),
        (ENGLISH, GERMAN, False),
        (ENGLISH, "", False),
        (ENGLISH, ENGLISH[:30], False),
        ("委员会将在一楼的大厨房旁边开会。", "委员会将在一楼的大厨房旁边开会。", True),
        ("委员会将在一楼的大厨房旁边开会。", "委員会は一階の大きな台所の隣で開かれます。", False),
        ("", "", True),
    ],
)
def test_copy_is_the_same_text_but_for_a_few_words(source, translation, copied):
    assert is_copy(source, translation) == copied


CODE = (
    "Use this:\n```python\nfor n in range(9):\n    print(n * total)  # the product\n```\nThen go."
)


@pytest.mark.parametrize(
    ("translation", "kept"),
    [
        (CODE.replace("Use this", "Nimm das"), True),
        (CODE.replace("the product", "das Produkt"), True),
        (CODE.replace("for n in range(9):\n    print(n * total)", "für n in Bereich(9)"), False),
        (CODE.replace("```", ""), False),
        (CODE + CODE, False),
    ],
)
def test_code_may_have_its_comments_translated_and_nothing_else(translation, kept):
    assert keeps_code(CODE, translation) is kept


def test_code_of_a_text_without_any_is_not_asked_for():
    assert keeps_code("No code, only `a name`.", CODE) is None


@pytest.mark.parametrize(
    ("source", "translation", "kept"),
    [
        ("See https://a.org/b?c=1.", "Siehe https://a.org/b?c=1", True),
        ("See (https://a.org/b), http://x.y", "http://x.y und https://a.org/b.", True),
        ("See https://a.org/b", "Siehe https://a.org/übersetzt", False),
        ("See https://a.org", "Siehe dort", False),
        ("See there", "https://a.org", None),
    ],
)
def test_links_are_kept_to_the_letter(source, translation, kept):
    assert keeps_links(source, translation) is kept


@pytest.mark.parametrize(
    ("language", "source", "translation", "kept"),
    [
        ("en", "Then Marie met John in Berlin.", "Luego María vio a John en Berlín.", True),
        ("en", "Then Marie met John in Berlin.", "Luego ella vio a alguien.", False),
        ("en", "Then Marie met John in Berlin.", "Затем Мари встретила Джона.", None),
        ("en", "The house. A tree. What now?", "La casa.", None),
        ("de", "Dann traf Marie den Johann.", "Then she met him.", None),
        ("fr", "Hier, Élodie a vu Zoé.", "Yesterday, Elodie saw Zoe.", True),
        ("ru", "Потом Мария вышла.", "Then Maria left.", False),
    ],
)
def test_names_are_told_by_their_capitals_where_that_is_possible(
    language, source, translation, kept
):
    expected = None if language == "ru" else kept
    assert keeps_names(source, translation, language) is expected
