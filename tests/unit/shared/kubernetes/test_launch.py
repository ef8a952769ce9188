"""How a TrainJob is started: the train step's parameter, and what KFP passes on."""

from __future__ import annotations

from types import SimpleNamespace

from lidr.components.shared.config.profile import Profile
from lidr.components.shared.kubernetes.launch import Launch, Placement


def launch(*labels: str) -> Launch:
    settings = {"launcher": "trainjob", "nccl": dict.fromkeys(labels, "é")}
    return Launch.of(
        Profile.model_validate(
            {"name": "p", "training": settings, "pod_labels": dict.fromkeys(labels, "on")}
        )
    )


def test_launch_text_is_equal_for_equal_profiles():
    assert launch("A", "B").text() == launch("B", "A").text()
    assert Launch.parse(launch("B", "A").text()) == launch("A", "B")
    assert Launch(nccl={"A": "é"}).text() == '{"nccl":{"A":"é"}}'


def test_placement_has_the_variables_that_are_not_from_a_secret():
    env = [
        {"name": "SET", "value": "1"},
        {"name": "EMPTY"},
        {"name": "TOKEN", "valueFrom": {"secretKeyRef": {"name": "hub", "key": "t"}}},
    ]
    config = SimpleNamespace(
        affinity=None, tolerations=None, node_selector=None, env=env, resources=None
    )
    assert Placement.of(config).environment == {"SET": "1", "EMPTY": ""}
