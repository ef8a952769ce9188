from __future__ import annotations

import json
from pathlib import Path

import pytest
from unicode_rbnf import RbnfEngine

from lidr.components.shared.core.languages import NAMES
from lidr.components.shared.numbers import roman
from lidr.components.shared.numbers.words import can_read, leading_number, spelled

NUMBERS = (
    *range(2, 32),
    45,
    70,
    99,
    100,
    116,
    200,
    305,
    999,
    1000,
    2024,
    70_000,
    123_456,
    2_000_000,
)


NATURAL = json.loads(Path(__file__).with_name("natural_numbers.json").read_text("utf-8"))
"""Numbers as people write them, by language: also where CLDR spells or declines them otherwise."""


@pytest.mark.parametrize(
    "language", ["ar", "de", "en", "es", "fr", "hi", "it", "pt", "ru", "th", "tr"]
)
def test_what_cldr_writes_is_read(language):
    engine = RbnfEngine.for_language(language)
    for number in NUMBERS:
        text = engine.format_number(number).text
        assert list(spelled(f"( {text} )", language)) == [number], text


@pytest.mark.long
@pytest.mark.parametrize("language", sorted(NATURAL))
def test_what_cldr_writes_is_read_in_every_language_that_is_said_to_be_readable(language):
    if language in ("bs", "nb", "tl"):
        pytest.skip("CLDR's words stand under another code")
    engine = RbnfEngine.for_language(language)
    numbers = [n for n in NUMBERS if n < 10_000]
    texts = {number: engine.format_number(number).text for number in numbers}
    found = [
        number for number, text in texts.items() if [*spelled(f"( {text} )", language)] == [number]
    ]
    assert len(found) >= (0.95 if language != "ko" else 0.7) * len(numbers)


@pytest.mark.parametrize("language", sorted(NATURAL))
def test_what_people_write_is_read(language):
    for number, text in NATURAL[language].items():
        assert list(spelled(f"( {text} )", language)) == [int(number)], text
        assert leading_number(text, language) == int(number)


def test_what_people_write_is_tested_in_all_49_languages_that_are_said_to_be_readable():
    assert set(NATURAL) == {code for code in NAMES if can_read(code)} - {"ja", "zh"}
    assert len(NATURAL) == 49


@pytest.mark.parametrize(
    ("text", "language", "values"),
    [
        ("two, three and four", "en", [2, 3, 4]),
        ("două sute de trei", "ro", [200, 3]),
        ("one hundred and five, twenty-one", "en", [105, 21]),
        ("two thousand, three hundred and six", "en", [2306]),
        ("twelve hundred", "en", [1200]),
        ("mil novecientos ochenta y cuatro", "es", [1984]),
        ("tres mil millones", "es", [3 * 10**9]),
        ("Einundzwanzig Dreiecke", "de", [21]),
        ("dreitausendfünfhundert", "de", [3500]),
        ("der dritte Tag", "de", [3]),
        ("cent un dalmatiens", "fr", [101]),
        ("elfu mbili", "sw", [2000]),
        ("책 세 권", "ko", [3]),
        ("két macska és három kutya", "hu", [2, 3]),
        ("nyolcvankétezer", "hu", [82_000]),
        ("خمسون ألفا وخمسة كتب", "ar", [50_005]),
        ("خمسون ألف كتاب وخمسة أقلام", "ar", [50_000, 5]),
        ("isto", "sr", []),
        ("исто", "mk", []),
        ("ثلاث وعشرون امرأة", "ar", [23]),
        ("doi și trei", "ro", [2, 3]),
        ("dva i tri", "sr", [2, 3]),
        ("이 책", "ko", []),
        ("만 오천 원", "ko", [15_000]),
        ("만 이천만 원", "ko", [20_000_000]),  # a full 20 million
        ("이만 천만 원", "ko", [20_000, 10_000_000]),
        ("이만 천원", "ko", [21_000]),
        ("만 이십 개월", "ko", [20]),
        ("삼만 백성", "ko", [30_000]),
        ("만 백성", "ko", []),
        ("백 두 개", "ko", [2]),
        ("천 원", "ko", []),
        ("un millón, mil", "es", [10**6, 1000]),
        ("un millón y mil", "es", [10**6, 1000]),
        ("ألف وألف", "ar", [1000, 1000]),
        ("someone alone", "en", []),
        ("", "en", []),
        ("one", "bn", []),
        ("tri chant", "cy", []),
    ],
)
def test_written_out_numbers_are_read_in_order(text, language, values):
    assert list(spelled(text, language)) == values


@pytest.mark.parametrize(
    ("text", "language", "values"),
    [
        ("two thousand, three thousand", "en", [2000, 3000]),
        ("two thousand and three thousand", "en", [2000, 3000]),
        ("two thousand, three million", "en", [2000, 3 * 10**6]),
        ("two thousand, three hundred thousand", "en", [2000, 300_000]),
        ("two thousand, three", "en", [2000, 3]),
        ("in two thousand, twenty people", "en", [2000, 20]),
        ("two hundred and three hundred", "en", [200, 300]),
        ("one, two and three million", "en", [1, 2, 3 * 10**6]),
        ("one thousand, two thousand, three thousand", "en", [1000, 2000, 3000]),
        ("dos mil, tres mil", "es", [2000, 3000]),
        ("tres millones, dos mil millones", "es", [3 * 10**6, 2 * 10**9]),
        ("deux mille, trois mille", "fr", [2000, 3000]),
        ("zweitausend, dreitausend", "de", [2000, 3000]),
        ("две тысячи, три тысячи", "ru", [2000, 3000]),
        ("خمسة آلاف وثلاثة آلاف", "ar", [5000, 3000]),
        ("دو هزار و سه هزار", "fa", [2000, 3000]),
        ("dvije hiljade i tri hiljade", "bs", [2000, 3000]),
        ("दो हज़ार, तीन हज़ार", "hi", [2000, 3000]),
        ("iki bin üç bin", "tr", [2000, 3000]),
        ("kétezer, háromezer", "hu", [2000, 3000]),
        ("hai nghìn, ba nghìn", "vi", [2000, 3000]),
        ("elfu mbili, elfu tatu", "sw", [2000, 3000]),
        ("สองร้อยสามร้อย", "th", [200, 300]),
        ("สองล้านสามล้าน", "th", [2 * 10**6, 3 * 10**6]),
        ("이천 삼천 원", "ko", [2000, 3000]),
    ],
)
def test_numbers_that_are_listed_are_not_added(text, language, values):
    assert list(spelled(text, language)) == values


@pytest.mark.parametrize(
    ("text", "language", "value"),
    [
        ("หนึ่งล้านล้าน", "th", 10**12),
        ("สามพันล้านล้าน", "th", 3 * 10**15),
        ("หนึ่งล้านสองแสนล้าน", "th", 12 * 10**11),
        ("สองหมื่นล้าน", "th", 2 * 10**10),
        ("a million million", "en", 10**12),
        ("two thousand million", "en", 2 * 10**9),
        ("two million, three hundred thousand", "en", 2_300_000),
        ("one million, two hundred thousand, and five", "en", 1_200_005),
        ("zwei Millionen, dreihunderttausend", "de", 2_300_000),
        ("dois mil e três milhões", "pt", 2_003_000_000),
        ("एक करोड़ दो लाख करोड़", "hi", 102 * 10**12),
        ("یک هزار میلیارد و پنجاه میلیارد", "fa", 1050 * 10**9),
        ("elfu tisa, hamsini na nane", "sw", 9058),
        ("삼백 만 원", "ko", 3 * 10**6),
        ("백 만 원", "ko", 10**6),
        ("이천 만 원", "ko", 2 * 10**7),
        ("삼십 억 원", "ko", 3 * 10**9),
        ("일억 이천 만 원", "ko", 120_000_000),
        ("이십 오 만 원", "ko", 250_000),
        ("삼백 만 육천 원", "ko", 3_006_000),
        ("열 두 개", "ko", 12),
    ],
)
def test_the_parts_of_one_number_are_joined(text, language, value):
    assert list(spelled(text, language)) == [value]


@pytest.mark.parametrize(
    ("text", "values"),
    [
        ("이십 세", [20]),
        ("그는 이십 세이다", [20]),
        ("이십세이다", [20]),
        ("이십세 청년", [20]),
        ("육십오 세", [65]),
        ("백오십 세", [150]),
        ("이백 세", [200]),
        ("백 세", []),
        ("20세", []),
        ("소 삼십 두", [30]),
        ("이십 열", [20]),
        ("이십 네", [20]),
        ("갈 만한 곳", []),
        ("만 이십 세", [20]),
        ("만 세 살", [3]),
        ("스물 세 살", [23]),
        ("스물세 살", [23]),
        ("서른 네 명", [34]),
        ("이백 세 명", [203]),
        ("백두 명", [102]),
        ("백열두 명", [112]),
        ("이백 열 명", [210]),
        ("아이 세 사람", [3]),
    ],
)
def test_a_korean_unit_after_a_number_is_not_added(text, values):
    """세, 두, 네 and 열 are three, two, four and ten after native numbers, and a year of age,
    a head of cattle, yes and a row after others."""
    assert list(spelled(text, "ko")) == values


@pytest.mark.parametrize(
    "piece", ["million ", "thousand million ", "million, ", "one million and "]
)
def test_a_text_that_repeats_a_scale_gives_no_endless_number(piece):
    assert max(spelled(piece * 5000, "en")).bit_length() < 100


def test_a_number_counts_only_where_it_begins():
    assert leading_number("eighteen dollars and two cents", "en") == 18
    assert leading_number("exactly eighteen", "en") is None
    assert leading_number("tri chant", "cy") is None, "its larger numbers are not parsed"


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("XIV", 14),
        ("MCMLXXXIV", 1984),
        ("Ⅻ", 12),
        ("IIII", None),
        ("I", None),
        ("xiv", None),
        ("", None),
    ],
)
def test_roman_numerals_are_read(text, value):
    assert roman.value(text) == value


def test_roman_numerals_are_found_in_text():
    assert list(roman.values("Louis XIV, Ⅶ and MIXED, I, V")) == [14, 7]
    assert list(roman.values("XIXe, XVIIIᵉ, XXème, XIXth")) == [19, 18, 20]
    assert list(roman.lone_values("siglo V, Xe, XV, Vx, I")) == [5, 10]


def test_in_korean_another_word_ends_a_number():
    assert list(spelled("삼백 원과 오십 원", "ko")) == [300, 50]
    assert leading_number("정확히 열여덟", "ko") is None
