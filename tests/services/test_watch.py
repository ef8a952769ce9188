"""The check of a run's inputs, which are where a cluster has them: in a bucket."""

from __future__ import annotations

import json

import pytest

from lidr.components.shared.config.recipe import Recipe
from lidr.components.shared.core.errors import BadInput
from lidr.components.shared.store.open import open_store
from lidr.components.shared.store.runs import state_key
from lidr.components.state.run import State
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
    root.write("model/model-00002.safetensors", b"WEIGHTS")
    assert _checked(recipe, bucket) not in (first, second, third), "of the same size"
    root.write("tasks.jsonl", b'{"prompt_id": "1"}')
    fourth = _checked(recipe, bucket)
    assert len({first, second, third, fourth, ""}) == 5

    root.delete("de.jsonl")
    with pytest.raises(BadInput, match=r"de\.jsonl: no such file"):
        _checked(recipe, bucket)


def _checked(recipe: Recipe, bucket: str) -> str:
    store = f"s3://{bucket}/store"
    return check_inputs(recipe=recipe.model_dump_json(), store=store, name="nightly")


def test_a_failed_run_is_gone_on_with_although_it_was_reported(bucket: str):
    recipe = make_recipe()
    run = _checked(recipe, bucket)
    open_store(f"s3://{bucket}/store").write(f"runs/{run}/result.json", b"{}")
    assert _checked(recipe, bucket) == run
    _end(bucket, run)
    assert _checked(recipe, bucket) == ""


def test_another_adapter_at_the_same_address_is_new(bucket: str):
    root = open_store(f"s3://{bucket}")
    root.write("model/config.json", b"{}")
    root.write("adapter/adapter_model.safetensors", b"one")
    files = {code: f"s3://{bucket}/{code}.jsonl" for code in ("en", "es", "de")}
    for code in files:
        root.write(f"{code}.jsonl", b'{"prompt_id": "1", "text": "Hello"}')
    model = {"source": f"s3://{bucket}/model", "adapter": f"s3://{bucket}/adapter"}
    recipe = make_recipe(model=model, prompts={"files": files, "per_iteration": 4})
    first = _checked(recipe, bucket)
    root.write("adapter/adapter_model.safetensors", b"two")
    assert _checked(recipe, bucket) != first


def _end(bucket: str, name: str) -> None:
    """Write what a run leaves that its gate has stopped after its start."""
    store = open_store(f"s3://{bucket}/store")
    state = dict.fromkeys(State._fields, "") | {"iteration": 0, "inputs": "", "verdict": "stop"}
    state |= {"promoted": True, "reason": "well"}
    store.write(state_key(name, 0), json.dumps(state).encode())
    store.write(f"runs/{name}/result.json", b"{}")
