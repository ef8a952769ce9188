from __future__ import annotations

import pytest

from lidr.components.shared.core.uris import has_scheme


@pytest.mark.parametrize(
    ("address", "expected"),
    [
        ("s3://bucket/prefix", True),
        ("mlflow-artifacts:/1/model", True),
        ("runs:/0123/model", True),
        ("/a/folder", False),
        ("models/s3:/x", False),
        ("model:latest", False),
        ("C:/models", False),
        ("", False),
    ],
)
def test_a_uri_has_a_scheme_and_a_path_has_none(address: str, expected: bool):
    assert has_scheme(address) is expected
