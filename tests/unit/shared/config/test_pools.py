"""What a pod of each kind of step gets, and which profiles contradict themselves."""

from __future__ import annotations

from pathlib import Path

import pytest
from pydantic import ValidationError

from lidr.components.shared.config.pools import KINDS, Resources, quantity_bytes
from lidr.components.shared.config.profile import Profile, load_profile
from lidr.components.shared.core.errors import BadInput

POOLS = {
    "h100": {"gpu": "H100", "accelerators": 1, "node_selector": {"gpu": "h100"}, "queue": "gpus"},
    "spot": {"gpu": "L4", "accelerators": 2, "spot": True},
}


def resources(kind: str, **steps: object) -> Resources:
    profile = Profile.model_validate({"name": "p", "pools": POOLS, "steps": steps})
    return profile.resources_of(kind)


@pytest.mark.parametrize(
    ("key", "name"),
    [
        ("namespace", "My_Team"),
        ("namespace", "my.team"),
        ("namespace", "a" * 64),
        ("service_account", "My_Team"),
        ("service_account", "a" * 254),
        ("service_account", "a..b"),
    ],
)
def test_names_that_kubernetes_refuses_are_refused(key: str, name: str):
    with pytest.raises(ValidationError, match=key):
        Profile.model_validate({"name": "p", key: name})


def test_names_that_kubernetes_takes_are_taken():
    dotted = f"my.{'a' * 64}.lidr"
    training = dict.fromkeys(("service_account", "runtime", "rollout_runtime"), dotted)
    given = {
        "name": "p",
        "namespace": "a" * 63,
        "service_account": dotted,
        "training": training,
        "notify": {"secret": dotted},
        "pools": {"gpus": {"queue": "team.gpus", "priority": "team.high"}},
    }
    profile = Profile.model_validate(given)
    assert profile.model_dump(exclude_unset=True) == given


def test_nothing_said_is_the_default_everywhere():
    assert all(resources(kind) == Resources() for kind in KINDS)


def test_a_step_has_what_its_pool_has_and_its_own_keys_win():
    found = resources("generate", generate={"pool": "h100", "accelerators": 4, "memory": "64Gi"})
    assert (found.gpu, found.queue, found.node_selector) == ("H100", "gpus", {"gpu": "h100"})
    assert (found.accelerators, found.memory, found.cpu) == (4, "64Gi", "1")


@pytest.mark.parametrize(
    ("kind", "base"),
    [
        ("translate", "generate"),
        ("evaluate", "generate"),
        ("prepare", "train"),
        ("judge", "control"),
    ],
)
def test_a_kind_that_follows_another_has_its_resources(kind: str, base: str):
    given = {"pool": "h100", "cpu": "8", "timeout_hours": 3}
    assert resources(kind, **{base: given}) == resources(base, **{base: given})
    own = resources(kind, **{base: given, kind: {"cpu": "2"}})
    assert (own.cpu, own.gpu, own.timeout_hours) == ("2", "H100", 3)


@pytest.mark.parametrize(
    ("steps", "count"),
    [
        ({"generate": {"pool": "spot"}}, 1),
        ({"generate": {"pool": "h100", "accelerators": 8}}, 1),
        ({"generate": {"pool": "h100"}, "score": {"pool": "spot"}}, 1),
        ({"generate": {"pool": "spot", "accelerators": 0}}, 0),
        ({"generate": {"pool": "spot"}, "score": {"accelerators": 2}}, 2),
        ({}, 0),
    ],
)
def test_score_takes_over_at_most_one_accelerator(steps: dict, count: int):
    assert resources("score", **steps).accelerators == count


@pytest.mark.parametrize(("pool", "gpus", "selector"), [("spot", 2, {}), ("", 0, {})])
def test_a_pool_of_its_own_takes_no_node_settings_over(pool: str, gpus: int, selector: dict):
    base = {
        "pool": "h100",
        "accelerators": 8,
        "tensor_parallel": 8,
        "tolerations": [{"key": "x"}],
        "memory": "64Gi",
    }
    found = resources("evaluate", generate=base, evaluate={"pool": pool})
    assert (found.accelerators, found.tensor_parallel) == (gpus, 0)
    assert (found.node_selector, found.tolerations, found.queue) == (selector, (), "")
    assert found.memory == "64Gi"


HEAD = """\
name: p
pools:
  h100: {accelerators: 4}
  spot: {accelerators: 1, spot: true}
steps:
  generate:
    pool: h100
"""


@pytest.mark.parametrize(
    ("text", "line", "message"),
    [
        ("  evaluate:\n    pool: h10\n", 9, "steps.evaluate.pool: no pool 'h10' (did you mean"),
        ("    tensor_parallel: 8\n", 8, "tensor_parallel: 8 is more than 4 accelerators"),
        ("    tensor_parallel: 3\n", 8, "tensor_parallel: 3 does not divide 4 accelerators"),
        ("  train:\n    tensor_parallel: 1\n", 9, "only steps that run an engine have it"),
        (
            "  translate:\n    pool: spot\n    retries: {count: 0}\n",
            10,
            "steps.translate.retries: a step on spot nodes needs retries: count is 0",
        ),
        ("    memory: 1Gi\n    shm: 1025Mi\n", 9, "shm: 1025Mi is more than memory, 1Gi"),
        ("    priority: high\n", 8, "'high' needs a queue, and queue is empty"),
        ("    timeout_hours: 0.0001\n", 8, "timeout_hours: shorter than a second"),
        ("    affinity: [{match: []}]\n", 8, "at least 1 item"),
        ("    affinity: [{match: [{key: a}]}]\n", 8, "operator In needs values"),
        (
            "    affinity: [{match: [{key: a, operator: Gt, values: [1, 2]}]}]\n",
            8,
            "affinity.0.match.0.values.0",
        ),
        (
            "    affinity: [{match: [{key: a, operator: Exists, values: [b]}]}]\n",
            8,
            "operator Exists takes no value",
        ),
        ("    retries: {count: 11}\n", 8, "retries.count: input should be less than or equal"),
    ],
)
def test_a_contradiction_is_named_where_it_stands(tmp_path: Path, text: str, line: int, message):
    file = tmp_path / "profile.yaml"
    file.write_text(HEAD + text)
    with pytest.raises(BadInput) as refused:
        load_profile(file)
    assert message in refused.value.message
    assert (refused.value.file, refused.value.line) == (str(file), line)
    assert refused.value.remedy


@pytest.mark.parametrize(
    ("quantity", "size"), [("512", 512), ("1.5Gi", 1.5 * 2**30), ("2M", 2e6), ("1Ti", 2**40)]
)
def test_quantities(quantity: str, size: float):
    assert quantity_bytes(quantity) == size
