"""The servers that other tests stand on keep what they hold, whichever of them stops."""

from __future__ import annotations

import urllib.error
import urllib.request

import pytest

from tests.services.stack import USER, Stack, s3_client


def experiments(stack: Stack) -> list[str]:
    answer = stack.mlflow.call("/api/2.0/mlflow/experiments/search?max_results=100", account=USER)
    return [each["name"] for each in answer["experiments"]]


def test_a_stopped_part_comes_back_with_what_it_held(stack):
    stack.mlflow.call("/api/2.0/mlflow/experiments/create", {"name": "kept"}, USER)
    s3_client(stack.s3.endpoint).put_object(Bucket=stack.bucket, Key="kept", Body=b"bytes")
    for part in (stack.postgres, stack.s3):
        part.stop()
    with pytest.raises(urllib.error.URLError):
        stack.mlflow.call("/api/2.0/mlflow/experiments/search?max_results=1")
    with pytest.raises(OSError):
        urllib.request.urlopen(stack.s3.endpoint, timeout=5)
    stack.start()
    assert "kept" in experiments(stack)
    [found] = s3_client(stack.s3.endpoint).list_objects_v2(Bucket=stack.bucket, Prefix="kept")[
        "Contents"
    ]
    assert found["Size"] == 5
