from __future__ import annotations

from collections.abc import Iterator

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lidr.components.shared.numbers import roman
from lidr.components.shared.numbers.preserved import keeps_numbers


@pytest.mark.parametrize(
    ("text", "language", "translation", "target"),
    [
        ("1,000.5 books of 12", "en", "12 libros de 1.000,5", "es"),
        ("1,000 books", "en", "1,000 Bücher", "de"),
        ("1,234 books", "en", "1234 Bücher", "de"),
        ("3 books", "en", "３ libros", "es"),
        ("3 books", "en", "tres libros", "es"),
        ("tres libros y 5", "es", "3 books and five", "en"),
        ("10,000 people", "en", "1万人", "zh"),
        ("10,000 people", "en", "一万人", "zh"),
        ("100 million yen", "en", "1億円", "ja"),
        ("100,000,000 yen", "en", "1億円", "ja"),
        ("35,000 won", "en", "3만 5천 원", "ko"),
        ("350 won", "en", "삼백오십 원", "ko"),
        ("1,00,000 rupees", "en", "1 लाख रुपये", "hi"),
        ("2,500,000 rupees", "en", "25 लाख रुपये", "hi"),
        ("2 crore rupees", "en", "20000000 Rupien", "de"),
        ("5 lakh", "en", "५,००,००० रुपये", "hi"),
        ("35 rupees", "en", "पैंतीस रुपये", "hi"),
        ("Louis 14 of France", "en", "Louis XIV de France", "fr"),
        ("World War 2", "en", "Ⅱ. Weltkrieg", "de"),
        ("25,000 euros", "en", "fünfundzwanzigtausend Euro", "de"),
        ("97 pages", "en", "quatre-vingt-dix-sept pages", "fr"),
        ("The 3rd book", "en", "El tercer libro", "es"),
        ("116 pounds", "en", "مائة وستة عشر جنيها", "ar"),
        ("There are 2 cats.", "en", "Két macska van.", "hu"),
        ("2,500,000 people", "en", "kétmillió-ötszázezer ember", "hu"),
        ("3,000 people", "en", "שלושת אלפים איש", "he"),
        ("3 cats", "en", "ثلاث قطط", "ar"),
        ("1.5 million", "en", "1.500.000", "es"),
        ("10,000 tonnes", "en", "10 mil toneladas", "pt"),
        ("1e3 steps", "en", "1.000 Schritte", "de"),
        ("From 3-5 to 1/2", "en", "De 3 a 5, ½", "es"),
        ("On 5/3/2024", "en", "Le 3 mai 2024", "fr"),
        ("2024年5月3日", "zh", "May 3, 2024", "en"),
        ("2,000,000 people", "en", "dos millones de personas", "es"),
        ("2147 kg", "en", "две тысячи сто сорок семь кг", "ru"),
        ("35 baht", "en", "สามสิบห้าบาท", "th"),
        ("10:00 AM", "en", "10 Uhr", "de"),
        ("At 16:00.", "en", "会議は16時00分に", "ja"),
        ("At 16:00.", "en", "lúc 16 giờ 00", "vi"),
        ("15:30 at the market", "en", "15:30 am Markt", "de"),
        ("9:00 to 17:00", "en", "9 bis 17 Uhr", "de"),
        ("9:00-17:00, 100 guests", "en", "9-17 Uhr, 100 Gäste", "de"),
        ("at 9:00 100 guests", "en", "um 9:00 100 Gäste", "de"),
        ("3:30 pm", "en", "15:30 Uhr", "de"),
        ("3:30 p.m.", "en", "15 h 30", "fr"),
        ("10:30 AM", "en", "10h30", "fr"),
        ("10:00", "en", "10h", "fr"),
        ("4 pm", "en", "16 Uhr", "de"),
        ("3 pm to 3 am", "en", "15 bis 3 Uhr", "de"),
        ("12:30 am", "en", "0:30 Uhr", "de"),
        ("12 pm", "en", "12 Uhr", "de"),
        ("3:30", "en", "15:30 Uhr", "de"),
        ("16:00", "en", "शाम 4 बजे", "hi"),
        ("at 15:30", "en", "下午3:30", "zh"),
        ("Open 2-3 pm", "en", "Geöffnet 14-15 Uhr", "de"),
        ("Open 2–3 pm", "en", "Geöffnet 14–15 Uhr", "de"),
        ("from 2 to 3 pm", "en", "von 14 bis 15 Uhr", "de"),
        ("between 2 and 3:30 pm", "en", "entre 14 h et 15 h 30", "fr"),
        ("de 2 a 3 pm", "es", "14-15 Uhr", "de"),
        ("9-5 pm", "en", "9-17 Uhr", "de"),
        ("11-1 am", "en", "23:00-1:00 Uhr", "de"),
        ("until 24:00", "en", "bis 0:00 Uhr", "de"),
        ("9-24:00", "en", "9-24 Uhr", "de"),
        ("bis 24:00 Uhr", "de", "until 12:00 am", "en"),
        ("the 19th century", "en", "le XIXe siècle", "fr"),
        ("the 19th century", "en", "le XIXᵉ siècle", "fr"),
        ("the 19th century", "en", "le XIXème siècle", "fr"),
        ("the 5th century", "en", "el siglo V", "es"),
        ("the 10th century", "en", "le Xe siècle", "fr"),
        ("It costs 350,000,000 won.", "en", "가격은 삼억 오천만 원입니다.", "ko"),
        ("Add 2\u00a01/2 cups", "en", "Gib 2 1/2 Tassen dazu", "de"),
        ("Take the points (1.5,2.5).", "en", "Nimm die Punkte (1,5; 2,5).", "de"),
        ("1.234^2 of it", "de", "1.234^2 davon", "en"),
        ("2.5 hours", "en", "2个半小时", "zh"),
        ("2 and a half hours", "en", "2个半小时", "zh"),
        ("1/3 of 12", "en", "12の3分の1", "ja"),
        ("25,000 yuan", "en", "2万五千元", "zh"),
        ("350 km", "en", "三百五十千米", "zh"),
        ("I have 5 apples.", "en", "मेरे पास पांच सेब हैं।", "hi"),
    ],
)
def test_equal_numbers_are_equal_in_any_writing(text, language, translation, target):
    assert keeps_numbers(text, language, translation, target) is True
    assert keeps_numbers(translation, target, text, language) is not False


@pytest.mark.parametrize(
    ("text", "language", "translation", "target"),
    [
        ("3 books", "en", "4 libros", "es"),
        ("3 books", "en", "cuatro libros", "es"),
        ("3 books", "en", "unos libros", "es"),
        ("3 books", "en", "3 de 3 libros", "es"),
        ("3 books and 5", "en", "3 libros y 6", "es"),
        ("10,000 people", "en", "1千人", "zh"),
        ("10,000 people", "en", "1亿人", "zh"),
        ("1 lakh", "en", "10,000 रुपये", "hi"),
        ("3.7 metres", "en", "siete metros", "es"),
        ("3 books", "en", "4টি বই", "bn"),
        ("1,000 books", "en", "1.001 Bücher", "de"),
        ("1.5 litres", "en", "15 Liter", "de"),
        ("It costs 1.234^2.", "de", "It costs 1522.756.", "en"),
        ("10:00", "en", "11 Uhr", "de"),
        ("No. 3 at the market", "en", "Nr. 15 am Markt", "de"),
        ("No. 19 at the market", "en", "Nr. 7 am Markt", "de"),
        ("10:30", "en", "10 Uhr", "de"),
        ("at 9:00, 0 points", "en", "um 9 Uhr, Punkte", "de"),
        ("0 of 10 points", "en", "10 Punkte", "de"),
        ("4 pm", "en", "17 Uhr", "de"),
        ("4 am", "en", "16 Uhr", "de"),
        ("3:30 am", "en", "15:30 Uhr", "de"),
        ("16:00", "en", "4 am", "tr"),
        ("2-3 pm", "en", "14-16 Uhr", "de"),
        ("2-3 am", "en", "14-15 Uhr", "de"),
        ("9-5 pm", "en", "21-17 Uhr", "de"),
        ("rooms 2-3", "en", "Zimmer 14-15", "de"),
        ("Nr. 2-3 am Markt", "de", "No. 14-15 at the market", "en"),
        ("until 24:00", "en", "bis 13:00 Uhr", "de"),
        ("bis 24:00 Uhr", "de", "until 12 pm", "en"),
        ("24 hours", "en", "0 Stunden", "de"),
        ("4 books", "en", "16 Bücher", "de"),
        ("16 books", "en", "4 Bücher", "de"),
        ("the 19th century", "en", "le XXe siècle", "fr"),
        ("the 5th century", "en", "el siglo X", "es"),
        ("a battery of 5 V", "en", "una batería de V", "es"),
        ("10 X", "en", "X", "de"),
        ("There were 5,000 of them.", "en", "만 오천 명이 있었다.", "ko"),
    ],
)
def test_another_number_is_not_kept(text, language, translation, target):
    assert keeps_numbers(text, language, translation, target) is False


@pytest.mark.parametrize(
    ("text", "language", "translation", "target"),
    [
        ("no number", "en", "hay 3", "es"),
        ("three books", "en", "cuatro libros", "es"),
        ("3 books", "en", "তিনটি বই", "bn"),
        ("3 books", "en", "మూడు పుస్తకాలు", "te"),
        ("1/2 of it", "en", "la mitad", "es"),
        ("2.5 hours", "en", "dos horas y media", "es"),
    ],
)
def test_what_cannot_be_read_is_not_counted(text, language, translation, target):
    assert keeps_numbers(text, language, translation, target) is None


def test_roman_numerals_are_looked_for_once_in_a_text(monkeypatch):
    asked: list[str] = []

    def lone_values(text: str) -> Iterator[int]:
        asked.append(text)
        return iter((5, 10))

    monkeypatch.setattr(roman, "lone_values", lone_values)
    assert keeps_numbers("the 20th, the 21st and the 22nd", "en", "V y X", "es") is False
    assert asked == ["V y X"]


@given(st.text(), st.sampled_from(["en", "de", "es", "zh", "ko", "th", "te"]))
def test_a_text_keeps_its_own_numbers(text, language):
    assert keeps_numbers(text, language, text, language) is not False


@given(st.integers(0, 10**12))
def test_grouping_does_not_change_a_number(number):
    for mark in ",.'\u202f":
        assert keeps_numbers(str(number), "en", f"{number:,}".replace(",", mark), "de")
