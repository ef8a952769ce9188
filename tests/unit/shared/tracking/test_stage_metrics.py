from __future__ import annotations

import pytest

from lidr.components.shared.tracking.stage_metrics import clean


@pytest.mark.parametrize("text", ["12\u202f000\u00a0€", "می\u200cخواهم", "👩\u200d🚀", "a\tb\nc"])
def test_text_of_any_language_stays_in_a_tag(text):
    assert clean(text) == text


@pytest.mark.parametrize("code", ["\x00", "\x1b", "\u202e", "\ud800"])
def test_what_databases_or_terminals_refuse_is_replaced_in_a_tag(code):
    assert clean(f"a{code}b") == "a\ufffdb"


def test_a_tag_is_cut():
    assert clean("abc", 2) == "ab"
