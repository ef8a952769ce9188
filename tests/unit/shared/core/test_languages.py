from __future__ import annotations

import pytest

from lidr.components.shared.core.languages import NAMES, UNDETERMINED, LanguageIdentifier

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


RELATED = {
    "bg": "Нина има четири книги и намира още две в кухнята.",
    "fa": "نینا چهار کتاب دارد و دو کتاب دیگر در آشپزخانه پیدا می‌کند.",
    "mr": "नीनाकडे चार पुस्तके आहेत आणि तिला स्वयंपाकघरात आणखी दोन सापडतात.",
    "uk": "У Ніни є чотири книги, і вона знаходить ще дві на кухні.",
}
FOREIGN = {
    "ar": "لدى نينا أربعة كتب وتجد كتابين آخرين في المطبخ.",
    "hi": "नीना के पास चार किताबें हैं और रसोई में दो और मिलती हैं।",
    "ja": "ニーナは本を四冊持っていて、台所でさらに二冊見つけます。",
    "ko": "니나는 책 네 권을 가지고 있고 부엌에서 두 권을 더 찾습니다.",
    "th": "นีน่ามีหนังสือสี่เล่มและพบอีกสองเล่มในครัว",
    "zh": "尼娜有四本书，又在厨房里找到了两本。",
}


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


@pytest.mark.parametrize("code", FOREIGN)
def test_another_script_is_recognized_though_no_language_of_the_recipe_uses_it(identifier, code):
    assert identifier.identify([FOREIGN[code]]) == [code]


@pytest.mark.parametrize("wanted", ["ar", "fa", "hi", "mr", "ja", "ko", "ru", "uk", "bg", "zh"])
def test_a_script_of_the_recipe_belongs_to_its_languages(wanted):
    own = LanguageIdentifier(["en", wanted])
    sentence = {**SENTENCES, **FOREIGN, **RELATED}[wanted]
    assert own.identify([sentence, SENTENCES["en"]]) == [wanted, "en"]


@pytest.mark.parametrize(("wanted", "word"), [("uk", "Добра тема"), ("ja", "東京")])
def test_no_rival_is_added_where_the_recipe_uses_the_script(wanted, word):
    assert LanguageIdentifier(["en", wanted]).identify([word]) == [wanted]


@pytest.mark.parametrize(
    "text",
    [
        "Le mot chinois pour « bonjour » est 你好, et pour « merci » 谢谢.",
        "En russe, on dit : « Я люблю тебя ».",
        "L'aire vaut π r², et α = β + γ pour tout triangle.",
    ],
)
def test_a_quotation_in_another_script_does_not_change_the_language(identifier, text):
    assert identifier.identify([text]) == ["fr"]


CODE = "```python\n" + "for index, row in books.iterrows():\n    print(row['title'])\n" * 20


@pytest.mark.parametrize("end", ["```", "```\n", ""])
def test_code_does_not_make_an_answer_english(identifier, end):
    assert identifier.identify([f"Voici la boucle :\n\n{CODE}{end}"]) == ["fr"]
    assert identifier.identify([f"{CODE}{end}"]) == [UNDETERMINED]


def test_text_between_two_pieces_of_code_counts(identifier):
    text = f"```sh\nhead -n 10 file\n```\n{SENTENCES['de']}\n```sh\ntail file\n```"
    assert identifier.identify([text]) == ["de"]


def test_every_language_that_a_recipe_may_name_can_be_identified():
    assert LanguageIdentifier(list(NAMES)).identify([]) == []
