"""The zoo: what holds for any model, on a small random one of each family's shape.

`make test-long` asks everything of every shape. `make test` asks, of each kind of decision, one
shape.
"""

from __future__ import annotations

from pathlib import Path

import pytest

from lidr.components.shared.core.errors import BadInput
from tests.zoo.pen import Pen
from tests.zoo.properties import PROPERTIES
from tests.zoo.shapes import BY_NAME, EXACT, SHAPES, Shape

QUICK = {
    "llama-2": ("what_is_written_is_what_is_trained",),
    "llama-3, eos of the base model": ("generation_stops_where_training_ends",),
    "gemma-3, text, an entry more": ("generation_stops_where_training_ends",),
    "gemma-3, multimodal": ("an_iteration_runs",),
    "phi-3.5, longrope": ("a_batch_is_each_alone", "the_first_losses_are_ln_2"),
    "qwen-3, thinking": ("thoughts_are_left_out", "the_primer_begins_the_answer"),
    "gpt-oss": ("tokens_are_the_template_s", "thoughts_are_left_out"),
    "glm-4": ("tokens_are_the_template_s",),
    "granite, dated": ("two_days_are_one",),
    "mixtral": ("exported_is_trained",),
    "qwen-2": ("an_adapter_is_trained",),
    "gemma-2": (
        "log_probabilities_are_the_bare_model_s",
        "a_likelihood_is_the_bare_model_s",
    ),
    "qwen-3.5, linear attention, thinking": ("a_batch_is_each_alone",),
}
"""By shape, the properties that `make test` asks: one for each kind of decision."""

CASES = [
    pytest.param(
        shape.name,
        name,
        id=f"{shape.name}-{name}",
        marks=[] if name in QUICK.get(shape.name, ()) else [pytest.mark.long],
    )
    for shape in EXACT
    for name in PROPERTIES
]


@pytest.fixture(scope="module")
def pens(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Pen]:
    return {
        shape.name: Pen(shape, tmp_path_factory.mktemp(f"shape-{number}"))
        for number, shape in enumerate(SHAPES)
    }


@pytest.mark.slow
@pytest.mark.parametrize(("shape", "name"), CASES)
def test_zoo_holds_what_holds_for_any_model(pens: dict[str, Pen], shape: str, name: str):
    PROPERTIES[name](pens[shape])


@pytest.mark.parametrize(
    "shape", [shape for shape in SHAPES if shape.refused], ids=lambda shape: shape.name
)
def test_zoo_refuses_what_cannot_be_exact_when_it_is_imported(shape: Shape, tmp_path: Path):
    with pytest.raises(BadInput, match=shape.refused):
        _ = Pen(shape, tmp_path).inputs


def test_zoo_has_every_family_that_users_bring():
    assert len(EXACT) >= 20
    assert len(BY_NAME) == len(SHAPES)
    assert QUICK.keys() <= BY_NAME.keys()
    assert {name for names in QUICK.values() for name in names} == PROPERTIES.keys()
