"""What a cluster would refuse is refused before, and where a cluster is asked."""

from __future__ import annotations

import pytest

from lidr.components.shared.config.profile import Profile
from lidr.components.shared.core.errors import BadInput
from lidr.pipelines.acceptable import require_acceptable
from lidr.pipelines.cli.inputs import read_profile
from lidr.pipelines.cluster import tokens
from lidr.pipelines.cluster.client import Client
from lidr.pipelines.cluster.recurring import Recurrence
from lidr.pipelines.cluster.tasks import step_at
from lidr.pipelines.status import END


def profile(**sections: object) -> Profile:
    return Profile.model_validate({"name": "p", "runner": "kubeflow", **sections})


def steps(**train: object) -> dict[str, object]:
    return {"steps": {"train": train}}


def affinity(key: str, operator: str, value: str) -> list[dict[str, object]]:
    return [{"match": [{"key": key, "operator": operator, "values": [value]}]}]


@pytest.mark.parametrize(
    ("sections", "message"),
    [
        ({"config_maps": ["My_Map"]}, "config_maps: 'My_Map' is not a valid name"),
        ({"secrets": {"Hub": ["HF_TOKEN"]}}, "secrets: 'Hub' is not a valid name"),
        (steps(accelerator_type="gpu"), "steps.train.accelerator_type: 'gpu' is not an extended"),
        (
            steps(node_selector={"pool": "a/b"}),
            "steps.train.node_selector: pool=a/b is not a valid",
        ),
        (
            steps(tolerations=[{"key": "gpu", "value": "yes"}]),
            "operator Exists takes no value ('yes')",
        ),
        (steps(tolerations=[{"operator": "Equal", "value": "x"}]), "operator Equal needs a key"),
        (
            {"pools": {"p": {"node_selector": {"a b": "c"}}}},
            "pools.p.node_selector: a b=c is not a",
        ),
        (steps(affinity=affinity("zone", "In", "a b")), "affinity: zone=a b is not a valid"),
        (steps(affinity=affinity("age", "Gt", "x")), "operator Gt needs a whole number, not 'x'"),
        (steps(tolerations=[{"key": "a b"}]), "tolerations: 'a b' is not a valid taint key"),
        (
            steps(tolerations=[{"operator": "Equal", "key": "x", "value": "a b"}]),
            "tolerations: 'a b' is not a valid taint value",
        ),
        ({"config_maps": ["a..b"]}, "config_maps: 'a..b' is not a valid name"),
        ({"config_maps": ["a.-b"]}, "config_maps: 'a.-b' is not a valid name"),
        ({"config_maps": ["a" * 254]}, "is not a valid name"),
        ({"pod_labels": {"aéb": "c"}}, "pod_labels: aéb=c is not a valid label"),
        ({"pod_labels": {"a..b/c": "d"}}, "pod_labels: a..b/c=d is not a valid label"),
        ({"pod_labels": {"team": "a b"}}, "pod_labels: team=a b is not a valid"),
        ({"pod_annotations": {"a b": "c"}}, "pod_annotations: 'a b' is not a valid annotation"),
    ],
)
def test_a_profile_that_a_cluster_would_refuse(sections, message: str):
    with pytest.raises(BadInput) as refused:
        require_acceptable(profile(**sections))
    assert message in str(refused.value)


def test_long_names_and_prefixes_are_acceptable():
    prefix = ".".join(["a" * 50] * 4)
    labels = {f"{prefix}/{'k' * 63}": "v" * 63, "plain": ""}
    require_acceptable(profile(config_maps=["a" * 253], pod_labels=labels))


def test_the_shipped_profiles_are_acceptable():
    require_acceptable(read_profile("cluster"))
    require_acceptable(read_profile("cluster", "spot"))


def test_in_a_pod_nothing_needs_to_be_said(monkeypatch, tmp_path):
    for name in ("LIDR_KFP_TOKEN", "KF_PIPELINES_ENDPOINT"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("KUBERNETES_SERVICE_HOST", "10.0.0.1")
    token = tmp_path / "token"
    token.write_text("of-the-pod\n")
    monkeypatch.setattr(tokens, "POD_TOKEN", token)
    client = Client(profile())
    assert client.host == "http://ml-pipeline.kubeflow.svc.cluster.local:8888"
    source = tokens.token_source(profile().kubeflow)
    assert source is not None and source() == "of-the-pod"


CRON_OF_ALL_FORMS = "0 */15 9-17/2,20 1,31 Jan,JUL-dec mon"


@pytest.mark.parametrize(
    ("text", "when"),
    [
        ("30m", Recurrence(seconds=1800)),
        ("1d", Recurrence(seconds=86400)),
        ("0 3 * * *", Recurrence(cron="0 0 3 * * *")),
        ("15 0 3 * * 1-5", Recurrence(cron="15 0 3 * * 1-5")),
        ("*/15 9-17/2,20 1,31 Jan,JUL-dec mon", Recurrence(cron=CRON_OF_ALL_FORMS)),
        ("0m", None),
        ("1w", None),
        ("١h", None),
        ("1١h", None),
        ("", None),
        ("* * * *", None),
        ("0 3 * * ;", None),
        ("60 3 * * *", None),
        ("0 24 * * *", None),
        ("0 99 * * *", None),
        ("0 3 0 * *", None),
        ("0 3 32 * *", None),
        ("0 3 * 13 *", None),
        ("0 3 * * 7", None),
        ("60 0 3 * * *", None),
        ("0 17-9 * * *", None),
        ("*/0 * * * *", None),
        ("a b c d e", None),
        ("0 3 * mon *", None),
        ("0 3 * * mond", None),
        ("0 ٣ * * *", None),
        ("0 3, * * *", None),
    ],
)
def test_a_schedule_s_times(text: str, when: Recurrence | None):
    if when is None:
        with pytest.raises(BadInput, match="neither an interval nor a cron line"):
            Recurrence.parse(text)
    else:
        assert Recurrence.parse(text) == Recurrence.of(when.trigger()) == when


@pytest.mark.parametrize(
    ("path", "first", "place"),
    [
        ("x.root.exit-handler-1.prepare.executor", 1, (0, "prepare")),
        ("x.root.exit-handler-1.evaluate.executor(0)", 1, (0, "evaluate")),
        ("x.root.exit-handler-1.iteration-2.condition-1.train.executor", 1, (2, "train")),
        ("x.root.exit-handler-1.iteration.condition-1.train.executor", 3, (3, "train")),
        ("x.root.exit-handler-1.iteration.condition-1.roll-out.executor", 1, (1, "rollout")),
        ("x.root.exit-handler-1.condition-2.check-inputs.executor", 1, (0, "watch")),
        ("x.root.report.executor", 1, (END, "report")),
        ("x.root.prepare.executor", 1, (0, "prepare")),
        ("x.root.evaluate.executor", 1, (1, "evaluate")),
        ("x.root.evaluate-2.executor", 1, (2, "evaluate")),
        ("x.root.judge-2(0).executor(0)", 1, (2, "judge")),
        ("x.root.gate.executor", 1, (2, "gate")),
        ("x.root.promote.executor", 1, (2, "promote")),
        ("x.root.exit-handler-1.iteration-2.next-state-2.executor", 1, None),
        ("x.root.exit-handler-1.iteration-2.condition-1.train-driver", 1, None),
    ],
)
def test_a_pod_s_place_is_in_its_path(path: str, first: int, place):
    assert step_at(path, first) == place
