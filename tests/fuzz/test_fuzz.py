"""The short run: every parser of outside data meets some broken inputs, the same ones each time."""

from __future__ import annotations

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.fuzz.running import Hang, Target, is_accepted, warm_up
from tests.fuzz.targets import TARGETS


@pytest.mark.parametrize("target", TARGETS, ids=lambda target: target.name)
def test_every_input_is_taken_or_refused_in_words(target: Target):
    outcomes = set()

    @settings(
        max_examples=40,
        deadline=None,
        derandomize=True,
        database=None,
        suppress_health_check=list(HealthCheck),
    )
    @given(st.randoms(use_true_random=False))
    def drawn(random):
        outcomes.add(is_accepted(target, target.make(random)))

    warm_up(target)
    drawn()
    assert True in outcomes, "nothing was accepted: the inputs are too broken to test anything"


def test_the_long_run_has_a_million_inputs_and_targets_have_their_own_names():
    assert sum(target.inputs for target in TARGETS) >= 1_000_000
    assert len({target.name for target in TARGETS}) == len(TARGETS)


def test_what_is_not_refused_in_words_is_found():
    def crash(value):
        raise KeyError(value)

    def hang(value):
        while True:
            pass

    def swallow(value):
        assert value == "", "a wrong accept"

    for check, error in ((crash, KeyError), (hang, Hang), (swallow, AssertionError)):
        with pytest.raises(error):
            is_accepted(Target("x", lambda random: "x", check, 1), "x")
