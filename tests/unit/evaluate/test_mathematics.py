from __future__ import annotations

import pytest

from lidr.components.evaluate import mathematics
from lidr.components.evaluate.mathematics import Verifier
from lidr.components.shared.core.errors import BadInput

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def verifier():
    with_patience = Verifier(seconds=8)
    yield with_patience
    with_patience.close()


@pytest.mark.parametrize(
    ("answer", "target", "equal"),
    [
        (r"So it is \boxed{\frac{1}{2}}.", "0.5", True),
        (r"\boxed{204} after 3 steps", "204", True),
        (r"الجواب هو \boxed{٢٠٤}", "204", True),
        (r"\boxed{２０４}", "204", True),
        (r"First \boxed{7}, no: \boxed{2\sqrt{3}}", r"\sqrt{12}", True),
        (r"\boxed{(3, \frac{\pi}{2})}", r"\left( 3, \frac{\pi}{2} \right)", True),
        (r"\boxed{x^2 + 2x + 1}", "(x+1)^2", True),
        (r"\boxed{205}", "204", False),
        (r"204 is not it, but \boxed{12}", "204", False),
        ("I do not know.", "204", False),
        ("", "204", False),
        ("\ud800\0", "204", False),
        ("x" * 5_000_000, "204", False),
        ("\\boxed{\\sqrt{" * 100_000, "204", False),
    ],
)
def test_results_are_compared_as_mathematics(verifier, answer, target, equal):
    before = verifier.given_up
    assert verifier.same(answer, target) == equal
    assert verifier.given_up == before


def test_a_comparison_that_math_verify_gives_up_by_itself_is_counted(verifier):
    before = verifier.given_up
    assert not verifier.same(r"\boxed{10^{10^{10}}}", "3")
    assert verifier.given_up == before + 1


def test_a_program_that_ends_as_it_starts_is_told_with_its_own_words(monkeypatch):
    monkeypatch.setattr(mathematics, "_PROGRAM", ("-c", "raise ImportError('no sympy')"))
    with pytest.raises(BadInput, match=r"not start \(exit status 1\) ImportError: no sympy"):
        Verifier().same("1", "1")


def test_a_comparison_without_end_is_given_up_and_counted():
    verifier = Verifier(seconds=2)
    try:
        assert not verifier.same(r"\boxed{9^{9^{9^{9}}}}", "3")
        assert verifier.given_up == 1
        assert verifier.same(r"\boxed{3}", "3")
    finally:
        verifier.close()
