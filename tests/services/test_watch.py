"""The check of a run's inputs, which are where a cluster has them: in a bucket."""

from __future__ import annotations

import pytest

from lidr.components.shared.config.recipe import Recipe
from lidr.components.shared.core.errors import BadInput
from lidr.components.shared.store.open import open_store
from lidr.components.watch.run import check_inputs
from tests.fakes import make_recipe


def test_new_inputs_are_other_prompts_or_another_base_model(bucket: str):
    root = open_store(f"s3://{bucket}")
    root.write("model/config.json", b"{}")
    files = {code: f"s3://{bucket}/{code}.jsonl" for code in ("en", "es", "de")}
    root.write("tasks.jsonl", b'{"prompt_id": "7"}')
    for code in files:
        root.write(f"{code}.jsonl", b'{"prompt_id": "1", "text": "Hello"}')
    source = {"source": f"s3://{bucket}/model"}
    tasks = f"s3://{bucket}/tasks.jsonl"
    prompts = {"files": files, "translation_tasks": tasks, "per_iteration": 4}
    recipe = make_recipe(model=source, prompts=prompts)

    first = _checked(recipe, bucket)
    assert first.startswith("nightly-")
    assert _checked(recipe, bucket) == first  # not done yet: gone on with
    _end(bucket, first)
    assert _checked(recipe, bucket) == ""
    root.write("es.jsonl", b'{"prompt_id": "1", "text": "Hola"}')
    second = _checked(recipe, bucket)
    _end(bucket, second)
    root.write("model/model-00002.safetensors", b"weights")
    third = _checked(recipe, bucket)
    root.write("tasks.jsonl", b'{"prompt_id": "1"}')
    fourth = _checked(recipe, bucket)
    assert len({first, second, third, fourth, ""}) == 5

    root.delete("de.jsonl")
    with pytest.raises(BadInput, match=r"de\.jsonl: no such file"):
        _checked(recipe, bucket)


def _checked(recipe: Recipe, bucket: str) -> str:
    store = f"s3://{bucket}/store"
    return check_inputs(recipe=recipe.model_dump_json(), store=store, name="nightly")


def _end(bucket: str, name: str) -> None:
    open_store(f"s3://{bucket}/store").write(f"runs/{name}/result.json", b"{}")
