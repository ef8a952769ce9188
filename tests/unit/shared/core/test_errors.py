from __future__ import annotations

import pytest

from lidr.components.shared.core import errors


def test_the_exit_codes_are_those_of_the_command_line():
    codes = {
        kind.__name__: kind.exit_code
        for kind in vars(errors).values()
        if isinstance(kind, type) and issubclass(kind, errors.LidrError)
    }
    assert codes == {
        "LidrError": 1,
        "BadInput": 2,
        "StoreError": 2,
        "DamagedObject": 2,
        "StoreUnavailable": 2,
        "Unavailable": 2,
        "CorruptStage": 1,
        "EngineFailed": 1,
        "WrittenByAnother": 1,
        "TrainingFailed": 1,
        "LaunchFailed": 1,
        "RegistryFailed": 1,
        "TrackingFailed": 1,
        "TakenOver": 1,
        "Stopped": 143,
        "GateRefused": 3,
    }


@pytest.mark.parametrize(
    ("error", "text"),
    [
        (
            errors.BadInput("wrong", file="a.yaml", line=3, remedy="Mend it."),
            "a.yaml:3: wrong. Mend it.",
        ),
        (errors.BadInput("wrong.", file="a.yaml", remedy="Mend it."), "a.yaml: wrong. Mend it."),
        (errors.BadInput("wrong", line=3), "wrong."),
        (errors.EngineFailed("died"), "died."),
    ],
)
def test_an_error_says_where_what_and_what_to_do(error, text):
    assert str(error) == text
