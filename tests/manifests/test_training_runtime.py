"""The TrainingRuntime against its CRDs and Pod Security's restricted profile."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml

from lidr.components.shared.config.profile import TrainingPlacement
from lidr.components.shared.kubernetes.failure import FATAL
from lidr.components.train.launch.node import SHUTDOWN_VARIABLE
from tests.crds import needs_crds, problems
from tests.yaml_text import read_yaml

BASE = Path(__file__).resolve().parents[2] / "manifests" / "base"


@pytest.fixture(scope="module")
def runtime() -> dict[str, Any]:
    return read_yaml((BASE / "training-runtime.yaml").read_text("utf-8"))


@pytest.fixture(scope="module")
def job(runtime: dict[str, Any]) -> dict[str, Any]:
    (node,) = runtime["spec"]["template"]["spec"]["replicatedJobs"]
    assert node["name"] == "node"
    return node["template"]["spec"]


@pytest.fixture(scope="module")
def pod(job: dict[str, Any]) -> dict[str, Any]:
    return job["template"]["spec"]


@needs_crds
def test_the_api_server_would_take_it(runtime: dict[str, Any]):
    assert problems(runtime) == []


@needs_crds
def test_its_jobset_is_one(runtime: dict[str, Any]):
    spec = runtime["spec"]["template"]["spec"]
    assert (
        problems({"apiVersion": "jobset.x-k8s.io/v1alpha2", "kind": "JobSet", "spec": spec}) == []
    )


@needs_crds
def test_the_validation_refuses_what_is_unknown(runtime: dict[str, Any]):
    broken = read_yaml(yaml.safe_dump(runtime))
    broken["spec"]["mlPolicy"]["torch"]["numProcPerNode"] = 8  # removed in Trainer 2.2
    broken["spec"]["template"]["spec"]["failurePolicy"]["maxRestarts"] = "3"
    assert len(problems(broken)) == 2


def test_its_name_is_the_profile_s_default(runtime: dict[str, Any]):
    assert runtime["metadata"]["name"] == TrainingPlacement().runtime
    assert "namespace" not in runtime["metadata"]


def test_the_ranks_are_restarted_as_one(runtime: dict[str, Any], job: dict[str, Any]):
    policy = runtime["spec"]["template"]["spec"]["failurePolicy"]
    assert policy["restartStrategy"] == "BlockingRecreate"
    assert policy["maxRestarts"] > 0
    assert job["backoffLimit"] == 0


def test_fatal_exit_codes_end_it_and_disruptions_do_not_count(runtime: dict, job: dict):
    fatal, disrupted = job["podFailurePolicy"]["rules"]
    assert fatal["action"] == "FailJob"
    assert tuple(fatal["onExitCodes"]["values"]) == FATAL
    assert disrupted["action"] == "Ignore"
    assert disrupted["onPodConditions"] == [{"type": "DisruptionTarget", "status": "True"}]
    (rule,) = runtime["spec"]["template"]["spec"]["failurePolicy"]["rules"]
    assert rule == {
        "name": "fatal",
        "action": "FailJobSet",
        "onJobFailureReasons": ["PodFailurePolicy"],
    }


def test_the_ranks_have_all_of_the_grace_period_but_what_torchrun_needs(pod: dict[str, Any]):
    (container,) = pod["containers"]
    (given,) = [each["value"] for each in container["env"] if each["name"] == SHUTDOWN_VARIABLE]
    assert int(given) == pod["terminationGracePeriodSeconds"] - 5


def test_it_keeps_to_the_restricted_profile(pod: dict[str, Any]):
    security = pod["securityContext"]
    assert security["runAsNonRoot"] is True
    assert security["seccompProfile"] == {"type": "RuntimeDefault"}
    (container,) = pod["containers"]
    own = container["securityContext"]
    assert own["allowPrivilegeEscalation"] is False
    assert own["capabilities"] == {"drop": ["ALL"]}
    assert own["readOnlyRootFilesystem"] is True
    assert all(set(volume) == {"name", "emptyDir"} for volume in pod["volumes"])
    assert not {"hostNetwork", "hostPID", "hostIPC"} & set(pod)


def test_ranks_can_write_where_they_must(pod: dict[str, Any]):
    (container,) = pod["containers"]
    mounts = {mount["mountPath"]: mount["name"] for mount in container["volumeMounts"]}
    volumes = {volume["name"]: volume["emptyDir"] for volume in pod["volumes"]}
    assert volumes[mounts["/dev/shm"]] == {"medium": "Memory"}
    assert volumes[mounts["/scratch"]] == {}
    assert {"name": "TMPDIR", "value": "/scratch"} in container["env"]
