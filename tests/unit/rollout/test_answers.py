"""What becomes of an answer: its text without a stop string."""

from __future__ import annotations

import pytest

from lidr.components.rollout.answers import AnswerRequest, _record
from lidr.components.shared.engines import Completion
from lidr.components.shared.records.schema import Prompt

REQUEST = AnswerRequest(Prompt("p", "en", "x"))


def text_of(text: str, *stop: str, finish_reason: str = "stop") -> str:
    return _record(stop, REQUEST, Completion("p", text, finish_reason, 1, 1)).text


@pytest.mark.parametrize("stop", [("END", "THE END"), ("THE END", "END")])
def test_the_longest_stop_string_that_ends_an_answer_is_left_out(stop):
    assert text_of("4 books. THE END", *stop) == "4 books. "
    assert text_of("4 books. END", *stop) == "4 books. "


def test_an_answer_that_no_stop_string_ends_stays_whole():
    assert text_of("4 books.", "END") == text_of("4 books.") == "4 books."
    assert text_of("THE END", "END", finish_reason="length") == "THE END"


def test_a_request_without_a_completion_is_a_bug_that_shows():
    with pytest.raises(ValueError, match="an answer request without a completion"):
        _record((), REQUEST, None)
