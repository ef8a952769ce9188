from __future__ import annotations

import pytest

from components.shared.languages import NAMES, UNDETERMINED, LanguageIdentifier

SENTENCES = {
    "en": "Nina has four books and finds two more in the kitchen.",
    "es": "Nina tiene cuatro libros y encuentra dos más en la cocina.",
    "de": "Nina hat vier Bücher und findet zwei weitere in der Küche.",
    "fr": "Nina a quatre livres et en trouve deux autres dans la cuisine.",
    "ru": "У Нины четыре книги, и она находит ещё две на кухне.",
}


@pytest.fixture(scope="module")
def identifier() -> LanguageIdentifier:
    return LanguageIdentifier(list(SENTENCES))


def test_sentences_are_identified_in_order(identifier):
    codes = list(SENTENCES)
    turned = list(reversed(codes))
    assert identifier.identify([SENTENCES[code] for code in codes]) == codes
    assert identifier.identify([SENTENCES[code] for code in turned]) == turned


@pytest.mark.parametrize("text", ["", " \n ", "4 + 2 = 6", "!!! ...", "👋", "\0"])
def test_text_without_words_is_undetermined(identifier, text):
    assert identifier.identify([text]) == [UNDETERMINED]


@pytest.mark.parametrize("text", ["\ud800" + SENTENCES["es"], SENTENCES["es"] * 2000])
def test_broken_and_endless_text_is_no_problem(identifier, text):
    assert identifier.identify([text]) == ["es"]


def test_no_texts_have_no_languages(identifier):
    assert identifier.identify([]) == []


def test_english_is_always_among_the_languages():
    assert LanguageIdentifier(["es", "de"]).identify([SENTENCES["en"]]) == ["en"]


def test_every_language_that_a_recipe_may_name_can_be_identified():
    assert LanguageIdentifier(list(NAMES)).identify([]) == []
